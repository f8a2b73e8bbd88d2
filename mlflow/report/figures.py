"""What a report says in numbers: a trial's or the teacher's figures, and the members of a front that have a name."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from paretolens.errors import ConfigurationError
from paretolens.mlflow.chart import axis_label, format_value, trial_label
from paretolens.mlflow.front import Front
from paretolens.mlflow.names import interval_names
from paretolens.mlflow.objectives import Direction
from paretolens.mlflow.report.markdown import escape

__all__ = ["FIGURES", "cell", "chosen_member", "label", "named_members", "shown_figures", "trial_title"]

FIGURES = (
    "test_accuracy", "test_auc", "unseen_accuracy", "unseen_auc", "neps", "agreement", "insertion_auc", "deletion_auc",
    "pointing_hit", "latency_p50_ms", "latency_p99_ms", "quiet_ms", "quiet_p99_ms", "size_mb", "parameters", "macs",
)  # fmt: skip
"""Shown beside the objectives, where they were logged, in this order."""
_LABELS = {
    "unseen_accuracy": "Accuracy, unseen kind of fake",
    "unseen_auc": "AUC, unseen kind of fake",
    "pointing_hit": "Pointing game, hits",
    "quiet_ms": "Latency, nothing else running",
    "quiet_p99_ms": "Latency p99, nothing else running",
    "agreement": "Verdicts as the teacher's",
    "neps": "nEPS: EPS above the floor",
}
_EXTREMES = {"accuracy": "most accurate", "latency_ms": "fastest", "eps": "most faithful", "size_mb": "smallest"}


def label(name: str) -> str:
    """What people read for a metric, without its unit; escaped."""
    return escape(_LABELS.get(name) or axis_label(name).partition(" (")[0])


def cell(values: Mapping[Any, Any], name: str) -> str:
    """A figure with its unit and its interval where it has one; a dash where it isn't known."""
    value = _number(values.get(name))
    if not math.isfinite(value):
        return "–"
    low, high = (_number(values.get(end)) for end in interval_names(name))
    ends = (
        f" [{format_value(name, low, unit=False)}, {format_value(name, high, unit=False)}]" if math.isfinite(low + high) else ""
    )
    return f"{format_value(name, value)}{ends}"


def shown_figures(front: Front, *tables: Mapping[Any, Any]) -> list[str]:
    """The objectives, and of `FIGURES` those that one of the tables has."""
    beside = [name for name in FIGURES if any(math.isfinite(_number(values.get(name))) for values in tables)]
    return list(dict.fromkeys([*front.objectives, *beside]))


def chosen_member(front: Front, trial: str | None = None) -> "pd.Series[Any] | None":
    """The member that a report is about: the one named, else the knee; None on an empty front.

    Raises:
        ConfigurationError: the front has no such member.
    """
    if trial is None:
        return front.knee
    rows = front.members[front.members["trial"].astype(str) == trial]
    if not len(rows):
        raise ConfigurationError(f"trial {trial}: not on the front")
    return rows.iloc[0]


def named_members(front: Front, chosen: "pd.Series[Any]") -> list[tuple[str, "pd.Series[Any]"]]:
    """The chosen member, the knee and the best of each objective, each once, with all the names it bears."""
    wanted: list[tuple[str, pd.Series[Any]]] = [("chosen", chosen)]
    if front.knee is not None:
        wanted.append(("knee", front.knee))
    wanted += [(_EXTREMES.get(name, f"best {name}"), _best(front, name, way)) for name, way in front.objectives.items()]
    names: dict[str, list[str]] = {}
    for name, row in wanted:
        names.setdefault(str(row["trial"]), []).append(name)
    rows = {str(row["trial"]): row for _, row in wanted}
    return [(", ".join(bears), rows[trial]) for trial, bears in names.items()]


def trial_title(row: "Mapping[Any, Any] | pd.Series[Any]") -> str:
    """`trial 20`, escaped."""
    return f"trial {escape(trial_label(row['trial']))}"


def _best(front: Front, name: str, way: Direction) -> "pd.Series[Any]":
    return front.members.sort_values(name, ascending=way == "min", kind="stable").iloc[0]


def _number(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan
