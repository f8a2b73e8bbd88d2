"""Who wants to know how a search goes on: live tables, MLflow."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from paretolens.search.outcome import TrialRecord
from paretolens.spaces.knobs import Genome

__all__ = ["Epoch", "Observer", "Observers", "TrialStart"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrialStart:
    """A trial was handed out; a worker begins it once there is a place for it."""

    number: int
    """Its number in the journal."""
    key: str
    """`genome_key` of its genome."""
    genome: Genome
    """The repaired genome."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A trial called `report`."""

    number: int
    """The trial's number in the journal."""
    step: int
    """How often it has reported, from 1."""
    metrics: Mapping[str, float]
    """What it reported; non-finite values included."""
    seconds: float = 0.0
    """How long the trial has run, without the start of its worker."""


class Observer(Protocol):
    """Called from the driver's search loop, one call at a time. Slow observers slow the search down."""

    def trial_started(self, start: TrialStart) -> None:
        """A trial was handed out, and waits for a worker."""

    def trial_begun(self, number: int) -> None:
        """A worker begins that trial. One that ends without a worker is never begun."""

    def trial_reported(self, epoch: Epoch) -> None:
        """A running trial reported."""

    def trial_ended(self, entry: TrialRecord) -> None:
        """A trial has ended, whatever its fate, and the journal has it. Called exactly once per trial and session."""


class Observers:
    """Passes every event on to all observers. A fault in one never reaches the search; of each kind, the first is logged."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        self._told: set[tuple[str, ...]] = set()

    def __reduce__(self) -> tuple[type["Observers"], tuple[tuple[()]]]:
        """Tune snapshots its callbacks, and we never restore from one: consoles and stores stay here."""
        return Observers, ((),)

    def trial_started(self, start: TrialStart) -> None:
        """Pass on."""
        self._tell("trial_started", start, start.number)

    def trial_begun(self, number: int) -> None:
        """Pass on."""
        self._tell("trial_begun", number, number)

    def trial_reported(self, epoch: Epoch) -> None:
        """Pass on."""
        self._tell("trial_reported", epoch, epoch.number)

    def trial_ended(self, entry: TrialRecord) -> None:
        """Pass on."""
        self._tell("trial_ended", entry, entry.number)

    def _tell(self, event: str, what: TrialStart | int | Epoch | TrialRecord, number: int) -> None:
        for observer in self._observers:
            try:
                getattr(observer, event)(what)
            except Exception as error:
                self._say(type(observer).__name__, event, number, error)

    def _say(self, who: str, event: str, number: int, error: Exception) -> None:
        kind = (who, event, type(error).__name__, str(getattr(error, "errno", "")))
        if kind not in self._told:
            self._told.add(kind)
            reason = " ".join(str(error).split())[:300]
            told = f"{who} failed on {event} of trial {number} ({type(error).__name__}: {reason})"
            _logger.warning("%s; said once, the search goes on", told)
        _logger.debug("%s failed on %s of trial %d", who, event, number, exc_info=error)
