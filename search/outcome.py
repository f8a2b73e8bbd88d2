"""What a trial is asked for, what it returns, and what the record keeps of it."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from paretolens.errors import TrialError
from paretolens.spaces.knobs import Genome

__all__ = ["Fate", "Objective", "Report", "TrialFunction", "TrialOutcome", "TrialRecord", "check_outcome", "genome_key"]

Report: TypeAlias = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One axis of the search."""

    name: str
    """Key of the objective in `TrialOutcome.values`."""
    maximise: bool
    """True where more is better."""

    @property
    def sign(self) -> float:
        """What its values are multiplied by so that less is better."""
        return -1.0 if self.maximise else 1.0


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """What a trial function returns. Everything in it survives a round trip through JSON."""

    values: Mapping[str, float]
    """Objective name → value, in natural units and direction. A trial that violates a limit may leave some out."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Everything else that was measured."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Paths, names and other JSON values that go with the trial."""
    violations: Mapping[str, float] = field(default_factory=dict)
    """Limit → how far it was exceeded as a share of it, > 0. Any entry makes the trial infeasible: it can never enter a front."""

    def plain(self) -> dict[str, dict[str, Any]]:
        """Its parts by name, as JSON takes them; `TrialOutcome(**parts)` is the reverse."""
        return {name: dict(getattr(self, name)) for name in ("values", "metrics", "details", "violations")}


TrialFunction: TypeAlias = Callable[[Genome, Report], TrialOutcome]


class Fate(StrEnum):
    """How a trial ended."""

    EVALUATED = "evaluated"
    """All objectives are finite. Optuna: COMPLETE. Counts towards the budget."""
    EARLY_STOPPED = "early_stopped"
    """Ended by the scheduler. Optuna: COMPLETE with a violated constraint. Counts towards the budget."""
    INFEASIBLE = "infeasible"
    """Ended by a limit. Optuna: COMPLETE with a violated constraint. Does not count: it cost next to nothing."""
    FAILED = "failed"
    """Ended by a fault of its own. Optuna: FAIL."""
    INTERRUPTED = "interrupted"
    """The driver or the whole study ended first. Optuna: FAIL. Its genome is evaluated again on resume."""


BUDGETED = frozenset({Fate.EVALUATED, Fate.EARLY_STOPPED})


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial as the journal has it."""

    number: int
    """Position in the journal, from 0."""
    key: str
    """`genome_key` of the genome's active part: equal keys are equal trials."""
    genome: Genome
    """The repaired genome."""
    fate: Fate | None
    """How it ended; None while it runs."""
    values: Mapping[str, float]
    """Objective name → value; empty unless the fate is EVALUATED, or partial otherwise."""
    metrics: Mapping[str, float]
    """Everything else that was measured."""
    details: Mapping[str, Any]
    """Other JSON values."""
    violations: Mapping[str, float]
    """Limit → how far it was exceeded, as a share of it."""
    reason: str
    """Why it failed or was stopped; empty if evaluated."""
    again: bool
    """Whether its genome is owed another attempt."""
    seconds: float
    """How long the trial itself ran, without the start of its worker; 0 while it runs and for one whose driver died."""
    started: datetime | None
    """Wall-clock time of the proposal."""
    finished: datetime | None
    """Wall-clock time of the end."""


def genome_key(active: Genome) -> str:
    """Name the active part of a genome by its content: 16 hexadecimal digits of the SHA-256 of its sorted JSON."""
    text = json.dumps(dict(active), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_outcome(outcome: object, names: tuple[str, ...]) -> TrialOutcome:
    """Make sure that an outcome can be recorded.

    Non-finite metrics are left out and listed in `details["non_finite"]`: MLflow reads infinity back as a large number.

    Raises:
        TrialError: it is no outcome, an objective is missing, or a value is not a finite number.
    """
    if not isinstance(outcome, TrialOutcome):
        raise TrialError(f"the trial returned {type(outcome).__name__}; a TrialOutcome was expected")
    values = {name: _number(name, value) for name, value in outcome.values.items()}
    missing = [name for name in names if name not in values]
    if missing and not outcome.violations:
        raise TrialError(f"the trial returned no value for {', '.join(missing)}; every objective needs one")
    broken = [f"{name} = {value}" for name, value in values.items() if name in names and not math.isfinite(value)]
    if broken:
        raise TrialError(f"an objective is not finite: {', '.join(broken)}")
    metrics = {name: _number(name, value) for name, value in outcome.metrics.items()}
    lost = sorted(name for name, value in metrics.items() if not math.isfinite(value))
    return TrialOutcome(
        values=values,
        metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
        details={**outcome.details, **({"non_finite": lost} if lost else {})},
        violations={name: _number(name, value) for name, value in outcome.violations.items()},
    )


def _number(name: str, value: object) -> float:
    if isinstance(value, str | bytes):
        raise TrialError(f"{name} is the text {value!r}; a number was expected")
    try:
        return float(value)  # type: ignore[arg-type]  # NumPy and torch scalars are welcome
    except (TypeError, ValueError) as error:
        raise TrialError(f"{name} is of type {type(value).__name__}; a number was expected") from error
