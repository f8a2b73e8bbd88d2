"""Objectives by name and direction."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal

from paretolens.errors import ConfigurationError
from paretolens.mlflow.names import LISTING
from paretolens.naming import did_you_mean

__all__ = ["DEFAULT_OBJECTIVES", "Direction", "check_objectives", "parse_objectives", "usual_direction"]

Direction = Literal["max", "min"]

DEFAULT_OBJECTIVES: Mapping[str, Direction] = MappingProxyType({"accuracy": "max", "latency_ms": "min", "eps": "max"})

# Words of metrics' names, the first list that knows one of a name's words decides: `parity_decision_agreement` is an agreement,
# `deletion_auc` and `eps_unconverged_share` are costs although their other words are merits.
_NO_DIRECTION = frozenset(
    ("samples", "eligible", "chance", "runs", "load", "switches", "calibration", "saved", "reused", "index")
)
_MERITS_FIRST = frozenset(("agreement", "correlation"))
_COSTS = frozenset((
    "ms", "latency", "seconds", "size", "mb", "gb", "param", "params", "parameter", "parameters", "mac", "macs", "flop", "flops",
    "memory", "energy", "loss", "error", "errors", "eer", "ece", "brier", "parity", "difference", "deletion", "excluded",
    "degenerate", "unconverged",
))  # fmt: skip
_MERITS = frozenset((
    "accuracy", "auc", "f1", "precision", "recall", "eps", "neps", "throughput", "rho", "iou", "insertion", "hit",
))  # fmt: skip


def usual_direction(name: str) -> Direction | None:
    """The direction that a metric's name says, None for a name that says none."""
    words = set(name.lower().split("/")[-1].split("_"))
    if words & _NO_DIRECTION:
        return None
    if words & _MERITS_FIRST:
        return "max"
    if words & _COSTS:
        return "min"
    return "max" if words & _MERITS else None


def parse_objectives(text: str) -> dict[str, str]:
    """`accuracy,size_mb` or `accuracy:max,my_score:min`, for `check_objectives`: "" where neither text nor name says which.

    Raises:
        ConfigurationError: no name, an unknown direction, or one against the metric's name.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, direction = part.partition(":")
        found[name] = _directed(name, direction) if colon or usual_direction(name) else ""
    _require_some(found)
    return found


def check_objectives(objectives: Mapping[str, str], *, columns: Iterable[str] | None = None) -> dict[str, Direction]:
    """The objectives, once they make sense.

    Args:
        objectives: Metric → "max" or "min"; "" for the direction that its name says.
        columns: Metrics that there are, if that is to be checked.

    Raises:
        ConfigurationError: there are none, a metric isn't there, a direction is unknown or against the metric's name, or it is
            needed and not said.
    """
    _require_some(objectives)
    known = None if columns is None else sorted(columns)
    for name in objectives:
        if known is not None and name not in known:
            raise ConfigurationError(
                f"objective {name!r}: no trial has that metric{did_you_mean(name, known, listing=LISTING, said='there are')}"
            )
    return {name: _directed(name, direction) for name, direction in objectives.items()}


def _require_some(objectives: Mapping[str, str]) -> None:
    if not objectives:
        raise ConfigurationError("objectives: at least one is needed, as in accuracy,latency_ms,eps")


def _directed(name: str, direction: str) -> Direction:
    natural = usual_direction(name)
    said = direction or natural
    if said is None:
        raise ConfigurationError(f"objective {name!r}: is more or less of it better? write {name}:max or {name}:min")
    if said not in ("max", "min"):
        raise ConfigurationError(f"objective {name!r}: the direction must be max or min, got {said!r}")
    if natural is not None and natural != said:
        better = "larger" if natural == "max" else "smaller"
        raise ConfigurationError(f"objective {name!r}: {better} is better, got {said!r}; write {name}:{natural}")
    return "max" if said == "max" else "min"
