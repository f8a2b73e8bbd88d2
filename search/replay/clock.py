"""A search on a virtual clock: the engine's own dispatcher, proposer and early stopping, with answers read from a table."""

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from paretolens.search.bounds import violations
from paretolens.search.dispatcher import Assignment
from paretolens.search.halving import Halving, Milestone
from paretolens.search.ledger import Ledger
from paretolens.search.observer import Observers
from paretolens.search.outcome import Fate, TrialOutcome
from paretolens.search.replay.source import Source
from paretolens.search.replay.table import Report, Row
from paretolens.search.settings import EngineSettings, Scheduler
from paretolens.search.wiring import make_dispatcher
from paretolens.spaces.knobs import Genome

__all__ = ["Bounds", "Ended", "simulate"]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What ends a genome as infeasible in a replay."""

    limits: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Objective → the most that it may be; none by default."""
    seconds: float | None = None
    """How long it takes to find out; None for as long as the whole trial."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial that ended in a replay."""

    seconds: float
    """When, on the virtual clock."""
    fate: Fate
    """How."""
    row: Row
    """Its genome and values."""


@dataclass(order=True)
class _Event:
    at: float
    order: int
    number: int = field(compare=False)
    report: Report | None = field(compare=False)
    """None where the trial ends."""


_FREE = Bounds()


def simulate(source: Source, *, settings: EngineSettings, first: Sequence[Genome] = (), bounds: Bounds = _FREE) -> list[Ended]:
    """Run a search of `settings.trials` trials and return them in the order of their ends.

    Trials take the time on record and proposing takes none; `settings.workers` of them run at once. A time limit counts on
    the virtual clock; memory, failures and retries play no part.
    """
    return _Replay(source, settings, first, bounds).run()


class _Replay:
    def __init__(self, source: Source, settings: EngineSettings, first: Sequence[Genome], bounds: Bounds) -> None:
        self._source = source
        self._bounds = bounds
        self._now = 0.0
        self._dispatcher = make_dispatcher(
            source.table.space, settings, Ledger.in_memory(source.table.objectives), Observers(()), first, clock=lambda: self._now
        )
        self._halving = Halving(settings.halving) if settings.scheduler is Scheduler.HALVING else None
        self._events: list[_Event] = []
        self._counter = itertools.count()
        self._running: dict[int, tuple[str, Row]] = {}
        self._ended: list[Ended] = []

    def run(self) -> list[Ended]:
        """Until nothing runs and nothing more is assigned."""
        self._fill()
        while self._events:
            event = heapq.heappop(self._events)
            if event.number not in self._running:
                continue  # stopped before it came this far
            self._now = event.at
            self._happen(event)
            self._fill()
        return self._ended

    def _fill(self) -> None:
        while isinstance(step := self._dispatcher.next(), Assignment):
            row = self._source.answer(step.proposal.genome)
            self._running[step.number] = (step.proposal.key, row)
            self._dispatcher.begun(step.number)
            if violations(self._bounds.limits, row.values) and self._bounds.seconds is not None:
                self._expect(self._bounds.seconds, step.number, None)
                continue
            if self._halving is not None:
                for report in row.reports:
                    self._expect(report.seconds, step.number, report)
            self._expect(row.seconds, step.number, None)

    def _expect(self, seconds: float, number: int, report: Report | None) -> None:
        event = _Event(at=self._now + seconds, order=next(self._counter), number=number, report=report)
        heapq.heappush(self._events, event)

    def _happen(self, event: _Event) -> None:
        key, row = self._running[event.number]
        if event.report is None:
            self._end(event.number, Fate.EVALUATED, row)
            return
        milestone = Milestone.of(key, event.report.metrics)
        if milestone is not None and self._halving is not None and not self._halving.goes_on(milestone):
            self._end(event.number, Fate.EARLY_STOPPED, row)

    def _end(self, number: int, fate: Fate, row: Row) -> None:
        del self._running[number]
        if fate is Fate.EVALUATED:
            exceeded = violations(self._bounds.limits, row.values)
            fate = Fate.INFEASIBLE if exceeded else fate
            self._dispatcher.evaluated(number, TrialOutcome(values=row.values, violations=exceeded))
        else:
            self._dispatcher.early_stopped(number, TrialOutcome(values={}))
        self._ended.append(Ended(seconds=self._now, fate=fate, row=row))
