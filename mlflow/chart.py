"""What every picture of a front shares: colours, axes, labels and what is said of one trial."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from paretolens.mlflow.front import Front
from paretolens.mlflow.names import EPS_FLOOR, EPS_REFERENCE, interval_names
from paretolens.mlflow.objectives import Direction
from paretolens.mlflow.pareto import Floats, non_dominated

__all__ = [
    "Colour",
    "Panel",
    "Rule",
    "ValueKind",
    "axes_of",
    "format_value",
    "half_up",
    "headline",
    "panels",
    "rules_of",
    "speed_up",
    "trial_label",
    "value_kind",
]

ValueKind = Literal["share", "count", "score", "quantity"]
"""How a metric is written: in per cent, as 1.2 M, with three decimals, or with three digits that count."""


class Colour:
    """Okabe–Ito, told apart with any colour vision; each also has a shape of its own."""

    FRONT = "#0072B2"
    KNEE = "#D55E00"
    TEACHER = "#000000"
    DOMINATED = "#8A8A8A"
    FLOOR = "#CC79A7"
    REFERENCE = "#009E73"
    INK = "#222222"
    GRID = "#E3E3E3"


_NAMES = {
    "accuracy": "Accuracy",
    "eps": "EPS",
    "neps": "nEPS",
    "auc": "AUC",
    "eer": "EER",
    "f1": "F1",
    "latency": "Latency",
    "parameters": "Parameters",
    "macs": "MACs",
    "size": "Size",
}
_UNTRAINED = "_untrained"
"""End of the names of what a student costs before it is trained."""
_ABBREVIATIONS = {name: text for name, text in _NAMES.items() if text != name.capitalize()}
_UNITS = {"ms": "ms", "mb": "MB", "bytes": "bytes", "s": "s", "mib": "MiB", "kb": "kB"}
_SHARES = ("accuracy", "precision", "recall", "f1", "agreement", "eer")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A line with a meaning at a value of one axis, or a band."""

    value: float
    """Where the line is; the middle of a band."""
    low: float
    """Lower end of the band; the line itself where there is no interval."""
    high: float
    """Upper end of the band."""
    label: str
    colour: str
    dash: Literal["dash", "dot"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One scatter: an objective against the cost."""

    x: str
    y: str
    x_label: str
    y_label: str
    log_x: bool
    joined: pd.DataFrame
    """Members that no trial beats in these two objectives alone, by x: the stairs that are drawn."""
    aside: pd.DataFrame
    """The other members, on the front for the sake of another objective."""
    dominated: pd.DataFrame
    """The trials off the front."""
    rules: tuple[Rule, ...]
    """Lines at values of y."""
    x_rules: tuple[Rule, ...]
    """Lines at values of x."""

    @property
    def percent(self) -> bool:
        """Whether y is a share, shown in per cent."""
        return is_share(self.y)

    def teacher(self, front: Front) -> tuple[float, float] | None:
        """Where the teacher lies; None if a figure is missing. Its EPS is 1 by definition, and so is its nEPS."""
        known = {"eps": 1.0, "neps": 1.0, **(front.study.teacher if front.study else {})}
        x, y = known.get(self.x, math.nan), known.get(self.y, math.nan)
        return (x, y) if math.isfinite(x) and math.isfinite(y) else None


def is_share(name: str) -> bool:
    """Whether a metric is a share of 1 that people read in per cent."""
    return any(word in _SHARES for word in name.split("_"))


def panels(front: Front) -> list[Panel]:
    """One panel per objective against the cost."""
    return [_panel(front, x, y) for x, y in axes_of(front.objectives)]


def axes_of(objectives: Mapping[str, Direction]) -> list[tuple[str, str]]:
    """x and y of every panel: the cost (latency, else the first objective minimised, else the last) and each of the rest."""
    costs = [name for name, direction in objectives.items() if direction == "min"]
    x = "latency_ms" if "latency_ms" in objectives else (costs[0] if costs else list(objectives)[-1])
    return [(x, y) for y in objectives if y != x] or [(x, x)]


def _panel(front: Front, x: str, y: str) -> Panel:
    members = front.members
    shown = pd.concat([members[[x]], front.trials[[x]]])[x]
    teacher = front.study.teacher.get(x) if front.study else None
    span = [*shown.tolist(), *([teacher] if teacher else [])]
    log_x = bool(span) and min(span) > 0 and front.objectives.get(x) == "min"
    two = {name: front.objectives[name] for name in (x, y)}
    signs = np.array([-1.0 if direction == "max" else 1.0 for direction in two.values()])
    points = members[list(two)].to_numpy(dtype=np.float64) * signs
    best = non_dominated(points, keep_duplicates=True)
    return Panel(
        x=x,
        y=y,
        x_label=axis_label(x, log=log_x),
        y_label=axis_label(y),
        log_x=log_x,
        joined=members[best].sort_values(x),
        aside=members[~best],
        dominated=front.trials[~front.trials["pareto"].astype(bool)],
        rules=rules_of(front.study.metrics, y) if front.study else (),
        x_rules=rules_of(front.study.metrics, x) if front.study and x != y else (),
    )


def rules_of(metrics: Mapping[str, float], axis: str) -> tuple[Rule, ...]:
    """The lines that give an axis of EPS or nEPS its scale, as far as a study's metrics have them; none for other axes."""
    if axis not in ("eps", "neps"):
        return ()
    lines: tuple[tuple[str, str, str, Literal["dash", "dot"]], ...] = (
        (EPS_FLOOR, "untrained students (floor)", Colour.FLOOR, "dash"),
        (EPS_REFERENCE, "retrained teacher", Colour.REFERENCE, "dot"),
    )
    floor, rules = _line_of(metrics, EPS_FLOOR)[0], []
    for name, label, colour, dash in lines:
        found = _line_of(metrics, name)
        if axis == "neps":
            found = tuple(min(max((value - floor) / (1.0 - floor), 0.0), 1.0) if floor < 1 else math.nan for value in found)
        if math.isfinite(found[0]):
            rules.append(Rule(value=found[0], low=found[1], high=found[2], label=label, colour=colour, dash=dash))
    return tuple(rules)


def _line_of(metrics: Mapping[str, float], name: str) -> tuple[float, ...]:
    """Where a line is and the ends of its band; NaN where a study has none."""
    value, low, high = (metrics.get(key, math.nan) for key in (name, *interval_names(name)))
    middle = value if math.isfinite(value) else (low + high) / 2
    return (middle, low, high) if math.isfinite(low + high) else (middle, middle, middle)


def axis_label(name: str, *, log: bool = False) -> str:
    """`latency_ms` → `Latency (ms)`."""
    if name.endswith(_UNTRAINED):
        text, opening, notes = axis_label(name.removesuffix(_UNTRAINED), log=log).partition(" (")
        return f"{text}, untrained{opening}{notes}"
    words = name.split("_")
    unit = _UNITS.get(words[-1]) if len(words) > 1 else None
    unit = "%" if is_share(name) else unit
    stem = words[:-1] if unit and unit != "%" else words
    text = " ".join([_NAMES.get(stem[0], stem[0].capitalize()), *(_ABBREVIATIONS.get(word, word) for word in stem[1:])])
    notes = ", ".join(filter(None, (unit, "log scale" if log else "")))
    return f"{text} ({notes})" if notes else text


def value_kind(name: str) -> ValueKind:
    """How a metric's numbers are written."""
    if is_share(name):
        return "share"
    if not {"parameters", "macs"}.isdisjoint(name.split("_")):
        return "count"
    return "score" if not {"eps", "neps", "auc"}.isdisjoint(name.split("_")) else "quantity"


def format_value(name: str, value: float, *, unit: bool = True) -> str:
    """A metric as a person reads it: shares in per cent, counts with a prefix, the rest with three digits that count."""
    if not math.isfinite(value):
        return "–"
    if is_share(name):
        return f"{half_up(value, 1, percent=True)} %" if unit else half_up(value, 1, percent=True)
    suffix = _UNITS.get(name.removesuffix(_UNTRAINED).rsplit("_", maxsplit=1)[-1], "") if unit and "_" in name else ""
    kind = value_kind(name)
    if kind == "count":
        return _count(value)
    digits = 3 if kind == "score" else max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{min(digits, 4)}f} {suffix}".rstrip()


def half_up(value: float, places: int, *, percent: bool = False) -> str:
    """A number as people and browsers round it: 219 of 240 is 91.3 % and .913, not 91.2 % by the nearest even digit."""
    from decimal import ROUND_HALF_UP, Decimal

    shown = Decimal(repr(float(value))) * (100 if percent else 1)
    return f"{shown.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)}"


def _count(value: float) -> str:
    for size, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.0f}"


def interval(frame: pd.DataFrame, name: str) -> tuple[Floats, Floats] | None:
    """Lengths of the error bars below and above each value; None where the metric has no interval."""
    low, high = interval_names(name)
    if low not in frame or high not in frame:
        return None
    value = frame[name].to_numpy(dtype=np.float64)
    below = np.nan_to_num(np.maximum(value - frame[low].to_numpy(dtype=np.float64), 0.0))
    above = np.nan_to_num(np.maximum(frame[high].to_numpy(dtype=np.float64) - value, 0.0))
    return below, above


def speed_up(front: Front, row: Mapping[Any, Any]) -> float:
    """How many times faster than the teacher; NaN if either latency is unknown."""
    teacher = front.study.teacher.get("latency_ms", math.nan) if front.study else math.nan
    own = float(row.get("latency_ms", math.nan))
    return teacher / own if own > 0 else math.nan


def knobs(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The genome of a trial, knobs that it has."""
    prefix = "params."
    return {
        str(key).removeprefix(prefix): value for key, value in row.items() if str(key).startswith(prefix) and not pd.isna(value)
    }


def trial_label(name: object) -> str:
    """A trial's number where its name is one: `trial-0003` → `3`."""
    number = str(name).removeprefix("trial-")
    return str(int(number)) if number.isdecimal() else str(name)


def format_knob(value: Any) -> str:
    """A knob's value, numbers with four digits that count."""
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:.4g}"
    return str(value)


def headline(front: Front) -> tuple[str, str]:
    """Title and subtitle of a picture."""
    name = front.study.name if front.study else "trials"
    kept = f" with {front.where}" if front.where else ""
    count = f"{len(front.members)} of {len(front.trials)} trials{kept} are on the front"
    knee = front.knee
    if knee is None:
        return name, "no complete trial yet"
    values = ", ".join(f"{axis_label(key).partition(' (')[0]} {format_value(key, float(knee[key]))}" for key in front.objectives)
    factor = speed_up(front, knee.to_dict())
    faster = f", {factor:.1f}× the teacher's speed" if math.isfinite(factor) else ""
    return name, f"{count}. Knee: trial {trial_label(knee['trial'])} ({values}{faster})"
