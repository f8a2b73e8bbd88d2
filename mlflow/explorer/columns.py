"""What the page has to know of a metric or knob: label, unit, how its numbers are written, which block it belongs to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from paretolens.mlflow.chart import ValueKind, axis_label, value_kind
from paretolens.mlflow.names import ELSEWHERE
from paretolens.mlflow.objectives import Direction, usual_direction

__all__ = ["Column", "Group", "describe_columns", "metric_names"]

Group = Literal["objective", "knob", "size", "latency", "explanation", "quality", "other"]

KNOB_PREFIX = "params."
# Columns of a record that say what a run is, not what it scored.
_MARKS = frozenset(
    ("run_id", "trial", "state", "genome", "reason", "pareto", "knee", "rank", "crowding", "tied_with", "started_ms", "why")
)
_GROUPS: tuple[tuple[Group, tuple[str, ...]], ...] = (
    ("latency", ("latency", "quiet", "ms")),
    ("size", ("size", "parameters", "macs", "memory")),
    ("explanation", ("eps", "neps")),
    ("quality", ("accuracy", "precision", "recall", "f1", "auc", "eer", "ece", "brier", "agreement", "correlation")),
)

_DEVICES = {"onnxruntime_cpu": "ONNX Runtime", "tensorrt": "TensorRT", "tensorrt_fp16": "TensorRT FP16"}
_DEVICES |= {"litert": "LiteRT", "litert_dynamic": "LiteRT dynamic", "litert_int8": "LiteRT int8"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric or knob of the trials."""

    name: str
    """Key in the document's values; knobs as `params.<knob>`."""
    label: str
    """What people read, without the unit."""
    unit: str
    """`ms`, `MB`, `%` or empty."""
    kind: ValueKind | Literal["category"]
    """How a value is written; a category is text or a truth value."""
    group: Group
    """Block of the card it stands in."""
    direction: Direction | None
    """Which way is better; None where that isn't known."""


def metric_names(trials: pd.DataFrame) -> list[str]:
    """The columns of a record that are measurements: numbers, and not marks of the run."""
    return [
        str(name)
        for name in trials.columns
        if name not in _MARKS and not str(name).startswith(KNOB_PREFIX) and pd.api.types.is_numeric_dtype(trials[name])
    ]


def describe_columns(trials: pd.DataFrame, objectives: Mapping[str, Direction]) -> list[Column]:
    """Objectives first, then the other metrics, then the knobs; ends of intervals are no columns of their own."""
    names = metric_names(trials)
    ends = {end for name in names for end in (f"{name}_low", f"{name}_high")}
    others = [name for name in names if name not in objectives and name not in ends]
    knobs = [str(name) for name in trials.columns if str(name).startswith(KNOB_PREFIX)]
    return [
        *(_metric(name, "objective", direction) for name, direction in objectives.items()),
        *(_metric(name, _group(name.split("_")), usual_direction(name)) for name in others),
        *(_knob(name, trials[name]) for name in knobs),
    ]


def _metric(name: str, group: Group, direction: Direction | None) -> Column:
    elsewhere = ELSEWHERE.fullmatch(name)
    label, _, unit = axis_label(elsewhere["figure"] if elsewhere else name).partition(" (")
    if elsewhere:
        label = (
            f"{_device(elsewhere['device'])}, {elsewhere['threads']} thread{'s' if elsewhere['threads'] != '1' else ''}: {label}"
        )
    return Column(name=name, label=label, unit=unit.rstrip(")"), kind=value_kind(name), group=group, direction=direction)


def _device(label: str) -> str:
    """A device as people read it, with the name that tells its machine from others."""
    known = max((name for name in _DEVICES if f"{label}_".startswith(f"{name}_")), key=len, default="")
    machine = label.removeprefix(known).strip("_")
    return f"{_DEVICES[known]} ({machine})" if known and machine else _DEVICES.get(known, label.replace("_", " "))


def _knob(name: str, values: "pd.Series[Any]") -> Column:
    present = values.dropna()
    number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in present.tolist())
    kind: Literal["quantity", "category"] = "quantity" if number else "category"
    return Column(name=name, label=name.removeprefix(KNOB_PREFIX), unit="", kind=kind, group="knob", direction=None)


def _group(words: Iterable[str]) -> Group:
    known = set(words)
    return next((group for group, keys in _GROUPS if known.intersection(keys)), "other")
