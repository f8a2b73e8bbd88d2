"""Which genome next, when to stop, and the exactly-once bookkeeping in between. Knows nothing of Ray.

A budget of N counts distinct genomes that were evaluated (or ended by the early-stopping scheduler). Failures are replaced up to
a bound; a worker that dies is tried once more; what an interruption cut off is done first on resume.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from paretolens.search.ledger import LOST, NODE_LOST, Ledger
from paretolens.search.observer import Observer, TrialStart
from paretolens.search.outcome import BUDGETED, Fate, TrialOutcome, TrialRecord
from paretolens.search.proposer import Proposal, Proposer
from paretolens.spaces.knobs import Genome

__all__ = ["Assignment", "Dispatcher", "Limits", "Next"]


class Next(StrEnum):
    """Why there is no assignment."""

    WAIT = "wait"
    """Enough is running; ask again when a trial has ended."""
    DONE = "done"
    """Nothing more will be assigned."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a search ends."""

    trials: int
    """Evaluated trials that the record is to hold in the end."""
    workers: int
    """Trials that run at the same time."""
    failures: int
    """Failed trials of this session after which it gives up."""
    infeasible: int
    """Trials of this session ended by a limit after which it gives up."""
    attempts: int = 2
    """How often a genome whose worker died is tried in all."""
    seconds: float | None = None
    """No trial begins after this time; those that run are completed, those that wait for a place are left to a resume."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A trial to run."""

    number: int
    """Its number in the journal."""
    proposal: Proposal
    """Its genome."""


@dataclass
class Tally:
    """How the trials of this session ended."""

    failed: int = 0
    infeasible: int = 0
    last_reason: str = ""
    crashes: dict[str, int] = field(default_factory=dict)


class Dispatcher:
    """Hands out trials and takes their endings.

    Args:
        journal: the record, open for writing.
        proposer: already told the journal's history.
        observer: told of every ending, after it is in the journal.
        limits: when to stop.
        first: genomes to begin with, unless the record has them.
        clock: seconds that only grow; a replay brings its own.
    """

    def __init__(
        self,
        *,
        journal: Ledger,
        proposer: Proposer,
        observer: Observer,
        limits: Limits,
        first: Iterable[Genome] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._proposer = proposer
        self._observer = observer
        self._limits = limits
        self._clock = clock
        self._began = clock()
        self._running: dict[int, Assignment] = {}
        self._clocks: dict[int, float] = {}
        self._tally = Tally()
        self._stopped = ""
        self._as_asked = False
        records = journal.records()
        self._counted = sum(entry.fate in BUDGETED for entry in records)
        latest = {entry.key: entry for entry in records}
        self._queue: deque[Genome] = deque(entry.genome for entry in latest.values() if entry.again)
        self._queue.extend(first)

    @property
    def completed(self) -> int:
        """Trials in the record that count towards the budget."""
        return self._counted

    @property
    def running(self) -> dict[int, Assignment]:
        """Trials handed out and not ended, by number."""
        return dict(self._running)

    @property
    def stopped(self) -> str:
        """Why the search ends before its budget is used; empty while it goes on."""
        return self._stopped

    @property
    def finished(self) -> bool:
        """Whether the budget is used."""
        return self._counted >= self._limits.trials

    @property
    def as_asked(self) -> bool:
        """Whether it ended as it was told to: budget used, time up, or nothing left to try; not for faults or a signal."""
        return self.finished or self._as_asked

    def going_on(self) -> bool:
        """Whether there is more to do; time that is up, or too many failures, end it here."""
        if not self.finished and not self._stopped:
            self._stop_if_exhausted()
        return not self.finished and not self._stopped

    def stop(self, reason: str, *, as_asked: bool = False) -> None:
        """Hand out nothing more. May be called from a signal handler."""
        if not self._stopped:
            self._stopped, self._as_asked = reason, as_asked

    def next(self) -> Assignment | Next:
        """The next trial to run."""
        if not self.going_on():
            return Next.DONE
        live = len(self._running)
        if live >= self._limits.workers or self._counted + live >= self._limits.trials:
            return Next.WAIT
        proposal = self._propose()
        if proposal is None:
            if self._running:
                return Next.WAIT
            self.stop(f"every genome of the space has been tried; {self._counted} could be evaluated", as_asked=True)
            return Next.DONE
        number = self._journal.begin(proposal.genome, self._proposer.distributions, key=proposal.key, system=proposal.system)
        assignment = Assignment(number=number, proposal=proposal)
        self._running[number] = assignment
        self._observer.trial_started(TrialStart(number=number, key=proposal.key, genome=proposal.genome))
        return assignment

    def begun(self, number: int) -> None:
        """A worker begins the trial now; starting that worker may have taken a while."""
        self._clocks[number] = self._clock()
        self._observer.trial_begun(number)

    def elapsed(self, number: int) -> float:
        """Seconds since the trial began; 0 if it has not."""
        return self._clock() - self._clocks.get(number, self._clock())

    def evaluated(self, number: int, outcome: TrialOutcome) -> TrialRecord:
        """A trial returned; it is infeasible if it violates a limit."""
        return self._complete(number, Fate.INFEASIBLE if outcome.violations else Fate.EVALUATED, outcome)

    def early_stopped(self, number: int, outcome: TrialOutcome) -> TrialRecord:
        """The scheduler ended a trial; `outcome` holds what was known."""
        return self._complete(number, Fate.EARLY_STOPPED, outcome)

    def failed(self, number: int, reason: str) -> TrialRecord:
        """A trial failed in a way that would repeat."""
        return self._fail(number, Fate.FAILED, reason, again=False)

    def crashed(self, number: int, reason: str) -> TrialRecord:
        """The process of a trial died; its genome is tried again if attempts are left."""
        key = self._running[number].proposal.key
        self._tally.crashes[key] = self._tally.crashes.get(key, 0) + 1
        again = self._tally.crashes[key] < self._limits.attempts
        return self._fail(number, Fate.FAILED, reason, again=again)

    def postpone(self, number: int, reason: str) -> None:
        """A trial ended through no fault of its own; its genome is evaluated on resume."""
        self._fail(number, Fate.INTERRUPTED, reason, again=True)

    def lose_node(self, number: int) -> None:
        """The machine of a trial is gone; its genome is tried again elsewhere, but not for ever."""
        self._failed(number, self._journal.lose(number, reason=NODE_LOST, seconds=self.elapsed(number)))

    def interrupt(self, reason: str) -> None:
        """End all that runs because the search is stopped; their genomes are evaluated on resume."""
        for number in list(self._running):
            self.postpone(number, reason)

    def lose(self) -> None:
        """End all that runs because the workers were lost; their genomes are tried again, but not for ever."""
        for number in list(self._running):
            self._failed(number, self._journal.lose(number, reason=LOST, seconds=self.elapsed(number)))

    def _complete(self, number: int, fate: Fate, outcome: TrialOutcome) -> TrialRecord:
        entry = self._journal.end(number, fate, outcome, reason=_why(fate, outcome), seconds=self.elapsed(number))
        assignment = self._forget(number)
        trial = self._journal.trial(number)
        self._proposer.tell(assignment.proposal, trial.values or [], violations=trial.constraints)
        self._counted += fate in BUDGETED
        self._tally.infeasible += fate is Fate.INFEASIBLE
        if fate is Fate.INFEASIBLE:
            self._tally.last_reason = entry.reason
        self._observer.trial_ended(entry)
        return entry

    def _fail(self, number: int, fate: Fate, reason: str, *, again: bool) -> TrialRecord:
        return self._failed(number, self._journal.end(number, fate, reason=reason, again=again, seconds=self.elapsed(number)))

    def _forget(self, number: int) -> Assignment:
        self._clocks.pop(number, None)
        return self._running.pop(number)

    def _failed(self, number: int, entry: TrialRecord) -> TrialRecord:
        assignment = self._forget(number)
        self._proposer.fail(assignment.proposal, again=entry.again)
        if entry.again:
            self._queue.append(assignment.proposal.genome)
        if entry.fate is Fate.FAILED:
            self._tally.failed += not entry.again
            self._tally.last_reason = entry.reason
        self._observer.trial_ended(entry)
        return entry

    def _propose(self) -> Proposal | None:
        while self._queue:
            genome = self._proposer.repaired(self._queue.popleft())
            if self._proposer.is_new(genome):
                return self._proposer.ask_for(genome)
        return self._proposer.ask()

    def _stop_if_exhausted(self) -> None:
        if self._tally.failed >= self._limits.failures:
            self.stop(f"{self._tally.failed} trials failed, the last one because: {self._tally.last_reason}")
        if self._tally.infeasible >= self._limits.infeasible:
            self.stop(f"{self._tally.infeasible} trials were over a limit, the last one: {self._tally.last_reason}")
        seconds = self._limits.seconds
        if seconds is not None and self._clock() - self._began >= seconds:
            self.stop(f"the time limit of {seconds:g} s was reached", as_asked=True)


def _why(fate: Fate, outcome: TrialOutcome) -> str:
    if fate is Fate.EARLY_STOPPED:
        return "stopped early by the scheduler"
    return ", ".join(f"over the limit of {name} by {100 * excess:.3g} %" for name, excess in outcome.violations.items())
