"""Budget, replacements, retries and resume, without Ray."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from paretolens.search.dispatcher import Assignment, Dispatcher, Limits, Next
from paretolens.search.journal import Journal, read_records
from paretolens.search.ledger import LOST
from paretolens.search.observer import Epoch, Observers, TrialStart
from paretolens.search.outcome import Fate, TrialOutcome, TrialRecord
from paretolens.search.proposer import Proposer
from paretolens.search.sampling import Sampler, make_sampler
from paretolens.spaces.knobs import Space

Open = Callable[..., Journal]
GOOD = TrialOutcome(values={"cost": 1.0, "gain": 1.0})


class Log:
    """Remembers every event."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.ended: list[TrialRecord] = []

    def trial_started(self, start: TrialStart) -> None:
        self.started.append(start.number)

    def trial_begun(self, number: int) -> None:
        """Nothing."""

    def trial_reported(self, epoch: Epoch) -> None:
        raise AssertionError("nothing reports here")

    def trial_ended(self, entry: TrialRecord) -> None:
        self.ended.append(entry)


def dispatcher(
    journal: Journal,
    space: Space,
    log: Log | None = None,
    first: list[dict[str, int]] | None = None,
    clock: Callable[[], float] = time.monotonic,
    **limits: object,
) -> Dispatcher:
    source = make_sampler(Sampler.NSGA2, population=4, seed=len(journal.trials()))
    proposer = Proposer(space=space, objectives=journal.objectives, sampler=source, seed=0, history=journal.trials())
    chosen = {"trials": 6, "workers": 1, "failures": 5, "infeasible": 20, **limits}
    return Dispatcher(
        journal=journal,
        proposer=proposer,
        observer=log or Log(),
        limits=Limits(**chosen),
        first=first or [],
        clock=clock,
    )


def take(source: Dispatcher) -> Assignment:
    step = source.next()
    assert isinstance(step, Assignment)
    return step


def drain(source: Dispatcher) -> int:
    count = 0
    while isinstance(step := source.next(), Assignment):
        source.evaluated(step.number, GOOD)
        count += 1
    assert step is Next.DONE
    return count


def test_the_budget_is_met_exactly_and_every_event_is_told_once(open_journal: Open, cube: Space) -> None:
    log = Log()
    with open_journal() as journal:
        source = dispatcher(journal, cube, log)
        assert drain(source) == 6
        assert source.finished
        assert source.stopped == ""
        assert [entry.fate for entry in journal.records()] == [Fate.EVALUATED] * 6
    assert log.started == [entry.number for entry in log.ended] == list(range(6))


def test_no_more_runs_than_workers_nor_than_is_missing(open_journal: Open, cube: Space) -> None:
    with open_journal() as journal:
        source = dispatcher(journal, cube, trials=3, workers=2)
        first, second = take(source), take(source)
        assert source.next() is Next.WAIT
        source.evaluated(first.number, GOOD)
        third = take(source)
        source.evaluated(second.number, GOOD)
        assert source.next() is Next.WAIT  # a worker is free, but the third may still succeed
        source.failed(third.number, "broken")
        source.evaluated(take(source).number, GOOD)
        assert source.next() is Next.DONE


def test_failures_are_replaced_until_too_many_and_the_reason_is_told(open_journal: Open, cube: Space) -> None:
    with open_journal() as journal:
        source = dispatcher(journal, cube, failures=3)
        source.evaluated(take(source).number, GOOD)
        for number in range(3):
            source.failed(take(source).number, f"loss {number} is not finite")
        assert source.next() is Next.DONE
        assert "3 trials failed, the last one because: loss 2 is not finite" in source.stopped
        assert not source.finished
        assert len({entry.key for entry in journal.records()}) == 4  # none was tried twice


def test_a_dead_worker_is_tried_once_more_and_then_counts_as_failed(open_journal: Open, cube: Space) -> None:
    with open_journal() as journal:
        source = dispatcher(journal, cube, failures=1)
        first = take(source)
        assert source.crashed(first.number, "killed").again
        second = take(source)
        assert second.proposal.key == first.proposal.key
        assert not source.crashed(second.number, "killed again").again
        assert source.next() is Next.DONE


def test_over_a_limit_costs_no_budget_but_is_bounded(open_journal: Open, cube: Space) -> None:
    over = TrialOutcome(values={"cost": 9.0}, violations={"latency_ms": 2.5})
    with open_journal() as journal:
        source = dispatcher(journal, cube, trials=2, infeasible=3)
        source.evaluated(take(source).number, over)
        source.evaluated(take(source).number, GOOD)
        assert source.completed == 1
        source.evaluated(take(source).number, over)
        source.evaluated(take(source).number, over)
        assert source.next() is Next.DONE
        assert "over the limit of latency_ms by 250 %" in source.stopped


def test_early_stopped_trials_use_budget(open_journal: Open, cube: Space) -> None:
    with open_journal() as journal:
        source = dispatcher(journal, cube, trials=2)
        source.early_stopped(take(source).number, TrialOutcome(values={}))
        assert drain(source) == 1
        assert [entry.fate for entry in journal.records()] == [Fate.EARLY_STOPPED, Fate.EVALUATED]


def test_a_small_space_ends_the_search_with_its_reason(open_journal: Open, grid: Callable[..., Space]) -> None:
    with open_journal() as journal:
        source = dispatcher(journal, grid(2, 2), trials=10)
        assert drain(source) == 4
        assert "every genome of the space has been tried; 4" in source.stopped


def test_first_genomes_come_first_and_only_once(open_journal: Open, grid: Callable[..., Space]) -> None:
    first = [{"n0": 3, "n1": 3}, {"n0": 0, "n1": 0}, {"n0": 3, "n1": 3}]
    with open_journal() as journal:
        source = dispatcher(journal, grid(4, 4), first=first, trials=4)
        assert drain(source) == 4
        assert [dict(entry.genome) for entry in journal.records()][:2] == first[:2]
        assert len({entry.key for entry in journal.records()}) == 4
    with open_journal() as journal:
        assert drain(dispatcher(journal, grid(4, 4), first=first, trials=5)) == 1
        assert len({entry.key for entry in journal.records()}) == 5


def test_what_was_interrupted_comes_first_on_resume(open_journal: Open, cube: Space) -> None:
    with open_journal() as journal:
        source = dispatcher(journal, cube, workers=2)
        source.evaluated(take(source).number, GOOD)
        keys = {take(source).proposal.key, take(source).proposal.key}
        source.stop("stopped by SIGINT")
        assert source.next() is Next.DONE
        source.interrupt(source.stopped)
    with open_journal() as journal:
        assert [entry.reason for entry in journal.records()[1:]] == ["stopped by SIGINT"] * 2
        source = dispatcher(journal, cube, workers=2)
        assert {take(source).proposal.key, take(source).proposal.key} == keys


def test_lost_workers_do_not_repeat_a_genome_for_ever(open_journal: Open, grid: Callable[..., Space]) -> None:
    with open_journal() as journal:
        source = dispatcher(journal, grid(1), trials=1)
        for _ in range(3):
            take(source)
            source.lose()
        assert source.next() is Next.DONE
        assert [(entry.fate, entry.reason) for entry in journal.records()] == [(Fate.INTERRUPTED, LOST)] * 3


def test_a_time_limit_begins_no_more_trials(open_journal: Open, cube: Space) -> None:
    now = [0.0]
    with open_journal() as journal:
        source = dispatcher(journal, cube, clock=lambda: now[0], seconds=3.0)
        running = take(source)
        assert source.going_on()
        now[0] = 3.0
        assert not source.going_on()
        assert source.next() is Next.DONE
        source.evaluated(running.number, GOOD)
        assert source.completed == 1
        assert "time limit of 3 s" in source.stopped


def test_an_observer_that_fails_is_logged_and_ignored(caplog: pytest.LogCaptureFixture, open_journal: Open, cube: Space) -> None:
    class Broken(Log):
        def trial_ended(self, entry: TrialRecord) -> None:
            raise ConnectionError("the tracking server is gone")

    log = Log()
    with open_journal() as journal:
        source = dispatcher(journal, cube, Observers([Broken(), log]))  # type: ignore[arg-type]
        assert drain(source) == 6
    assert len(log.ended) == 6
    assert [entry.message for entry in caplog.records] == [
        "Broken failed on trial_ended of trial 0 (ConnectionError: the tracking server is gone); said once, the search goes on"
    ]
    assert all(entry.exc_info is None for entry in caplog.records)


SEARCH = """
import sys
from pathlib import Path
from paretolens.search.dispatcher import Assignment, Dispatcher, Limits
from paretolens.search.journal import Journal
from paretolens.search.observer import Observers
from paretolens.search.outcome import Objective, TrialOutcome
from paretolens.search.proposer import Proposer
from paretolens.search.sampling import Sampler, make_sampler
from paretolens.spaces.knobs import Knob, Space, Stage

space = Space(knobs=tuple(Knob(name=f"n{i}", stage=Stage.STUDENT, doc="", default=0, choices=tuple(range(5))) for i in range(3)))
objectives = [Objective(name="cost", maximise=False), Objective(name="gain", maximise=True)]
with Journal(Path(sys.argv[1]), objectives=objectives, fingerprint="abc") as journal:
    sampler = make_sampler(Sampler.NSGA2, population=6, seed=len(journal.trials()))
    proposer = Proposer(space=space, objectives=objectives, sampler=sampler, seed=0, history=journal.trials())
    limits = Limits(trials=40, workers=3, failures=5, infeasible=5)
    dispatcher = Dispatcher(journal=journal, proposer=proposer, observer=Observers([]), limits=limits)
    print("ready", flush=True)
    running = []
    while dispatcher.going_on():
        while isinstance(step := dispatcher.next(), Assignment):
            running.append(step)
        print("begun", flush=True)
        sys.stdin.readline()
        step = running.pop(0)
        genome = step.proposal.genome
        dispatcher.evaluated(step.number, TrialOutcome(values={"cost": genome["n0"], "gain": genome["n1"] - genome["n2"]}))
"""


def test_a_driver_killed_at_ten_random_points_loses_and_repeats_nothing(tmp_path: Path) -> None:
    folder, moments = tmp_path / "study", random.Random(7)
    command = [sys.executable, "-c", SEARCH, str(folder)]
    for number in range(10):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            if number % 2 == 0:  # else possibly before anything begins
                assert process.stdout.readline() == "begun\n"
            process.stdin.write("\n" * moments.randint(1, 3))  # so many trials may end: never all of them before it is killed
            process.stdin.flush()
            time.sleep(moments.uniform(0.0, 0.02))
            os.kill(process.pid, signal.SIGKILL)
    before = Counter(entry.fate for entry in read_records(folder))
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    records = read_records(folder)
    evaluated = [entry for entry in records if entry.fate is Fate.EVALUATED]
    assert before[None] + before[Fate.INTERRUPTED] > 0  # the kills did hit
    assert len(evaluated) == 40
    assert len({entry.key for entry in evaluated}) == 40
    assert all(entry.fate in (Fate.EVALUATED, Fate.INTERRUPTED) for entry in records)
    owed = {entry.key for entry in records if entry.fate is Fate.INTERRUPTED}
    assert owed <= {entry.key for entry in evaluated}
