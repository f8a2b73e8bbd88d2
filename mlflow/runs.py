"""One run out of MLflow as one flat row."""

import json
from typing import Any

from paretolens.mlflow.names import EPOCH_PREFIX, SYSTEM_PREFIX, UPDATED, Tag

__all__ = ["FIXED_COLUMNS", "PARAM_PREFIX", "Row", "measured", "run_row"]

Row = dict[str, Any]
PARAM_PREFIX = "params."

# MLflow keeps infinities as the largest double; anything near it was none of our measurements.
_INFINITE = 1e300
_TAGS = (Tag.STUDY, Tag.TRIAL, Tag.STATE, Tag.GENOME, Tag.REASON, Tag.PARETO, Tag.KNEE, Tag.RANK)
_NAMES = tuple(tag.removeprefix("paretolens.") for tag in _TAGS)
FIXED_COLUMNS = ("run_id", *_NAMES, "started_ms", "run_seconds")
"""Columns that every table of trials has, also an empty one."""


def run_row(run: Any) -> Row:
    """Tags, times, final metrics by their own names (no curves) and knobs as `params.<knob>`; NaN = not finite."""
    tags, info = run.data.tags, run.info
    row: Row = {"run_id": info.run_id}
    row |= {name: tags.get(tag, "") for name, tag in zip(_NAMES, _TAGS, strict=True)}
    row["started_ms"] = info.start_time
    row["run_seconds"] = (info.end_time - info.start_time) / 1000 if info.end_time else float("nan")
    for name, value in run.data.metrics.items():
        if not name.startswith((EPOCH_PREFIX, SYSTEM_PREFIX)) and name not in FIXED_COLUMNS and name != UPDATED:
            row[name] = measured(value)
    row |= {f"{PARAM_PREFIX}{name}": _parsed(text) for name, text in run.data.params.items()}
    return row


def measured(value: float) -> float:
    """A metric as it was measured; NaN for what MLflow makes of an infinity."""
    return float(value) if abs(value) < _INFINITE else float("nan")


def _parsed(text: str) -> Any:
    """A parameter as the value it was, where JSON can tell."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text
