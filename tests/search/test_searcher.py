"""The seam to Tune: what each call turns into."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError
from ray.tune.search import Searcher

from paretolens.errors import BackendError, InternalError, StoreError
from paretolens.search import engine
from paretolens.search.dispatcher import Dispatcher, Limits
from paretolens.search.journal import Journal
from paretolens.search.ledger import NODE_LOST
from paretolens.search.observer import Observers
from paretolens.search.outcome import Fate, TrialOutcome
from paretolens.search.proposer import Proposer
from paretolens.search.sampling import Sampler, make_sampler
from paretolens.search.searcher import Events, ParetoSearcher, WhenInterrupted
from paretolens.search.worker import Blame, Verdict
from paretolens.spaces.knobs import Space

Build = Callable[..., ParetoSearcher]


@pytest.fixture
def journal(open_journal: Callable[..., Journal]) -> Journal:
    return open_journal()


@pytest.fixture
def dispatcher(journal: Journal, cube: Space) -> Dispatcher:
    sampler = make_sampler(Sampler.RANDOM, population=4, seed=0)
    proposer = Proposer(space=cube, objectives=journal.objectives, sampler=sampler, seed=0)
    limits = Limits(trials=2, workers=2, failures=5, infeasible=5)
    return Dispatcher(journal=journal, proposer=proposer, observer=Observers([]), limits=limits)


@pytest.fixture
def searcher(dispatcher: Dispatcher) -> ParetoSearcher:
    return ParetoSearcher(dispatcher, seed=1)


def verdict(**values: float) -> dict[str, Any]:
    return {"verdict": Verdict(outcome=TrialOutcome(values=values)).encode(), "done": True}


def test_suggestions_wait_and_finish(searcher: ParetoSearcher, journal: Journal) -> None:
    first = searcher.suggest("a")
    assert isinstance(first, dict)
    assert json.loads(first["genome"]) == journal.records()[0].genome
    assert searcher.suggest("b") != first
    assert searcher.suggest("c") is None
    searcher.on_trial_complete("a", verdict(cost=1.0, gain=2.0))
    searcher.on_trial_complete("b", verdict(cost=1.0, gain=3.0))
    assert searcher.suggest("c") == Searcher.FINISHED
    assert [entry.values["gain"] for entry in journal.records()] == [2.0, 3.0]


def test_a_genome_has_the_same_seed_in_every_order(searcher: ParetoSearcher) -> None:
    seeds = {json.dumps(config["genome"]): config["seed"] for config in (searcher.suggest("a"), searcher.suggest("b")) if config}  # type: ignore[index]
    assert len(set(seeds.values())) == 2
    assert all(0 <= seed < 2**31 for seed in seeds.values())


def test_a_trial_without_a_verdict_was_stopped_by_the_scheduler(searcher: ParetoSearcher, journal: Journal) -> None:
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"report/cost": 0.25, "report/loss": 3.0, "step": 2})
    (entry,) = journal.records()
    assert (entry.fate, entry.values["cost"]) == (Fate.EARLY_STOPPED, 0.25)
    assert journal.trials()[0].constraints == {"early_stopped": 1.0}


def test_endings_that_tune_repeats_or_invents_are_ignored(searcher: ParetoSearcher, journal: Journal) -> None:
    searcher.suggest("a")
    searcher.on_trial_complete("a", verdict(cost=1.0, gain=2.0))
    searcher.on_trial_complete("a", verdict(cost=9.0, gain=9.0))
    searcher.on_trial_complete("unknown", verdict(cost=9.0, gain=9.0))
    assert [entry.values for entry in journal.records()] == [{"cost": 1.0, "gain": 2.0}]


def events(searcher: ParetoSearcher, dispatcher: Dispatcher, timeout: float | None = None) -> Events:
    return Events(searcher, dispatcher, Observers([]), timeout=timeout, on_setup=lambda: None)


def dead(trial_id: str, error_file: Path | None = None) -> Any:
    return SimpleNamespace(trial_id=trial_id, error_file=error_file and str(error_file))


def test_a_dead_worker_is_told_with_the_last_words_of_ray(
    searcher: ParetoSearcher, dispatcher: Dispatcher, journal: Journal, tmp_path: Path
) -> None:
    error = tmp_path / "error.txt"
    error.write_text("Failure # 1 (occurred at noon)\nThe actor died\n  unexpectedly\n")
    searcher.suggest("a")
    searcher.on_trial_complete("a", error=True)
    assert journal.records()[0].fate is None
    events(searcher, dispatcher).on_trial_error(0, [], dead("a", error))
    (entry,) = journal.records()
    assert (entry.fate, entry.again, entry.reason) == (
        Fate.FAILED, True, "its worker process died: The actor died unexpectedly",
    )  # fmt: skip


def test_a_worker_that_ended_itself_after_its_time_is_not_tried_again(
    searcher: ParetoSearcher, dispatcher: Dispatcher, journal: Journal
) -> None:
    told = events(searcher, dispatcher, timeout=1e-9)
    searcher.suggest("a")
    told.on_trial_error(0, [], dead("a"))  # died before it began: no time-out
    searcher.suggest("b")
    told.on_trial_result(0, [], dead("b"), {"begun": True})
    told.on_trial_error(0, [], dead("b"))
    assert [entry.again for entry in journal.records()] == [True, False]
    assert "longer than the limit" in journal.records()[1].reason


def test_a_place_where_no_trial_can_run_stops_the_search_and_owes_the_genome(
    searcher: ParetoSearcher, dispatcher: Dispatcher, journal: Journal
) -> None:
    searcher.suggest("a")
    full = Verdict(outcome=None, reason="file model.onnx: cannot be written (No space left on device)", blame=Blame.PLACE)
    searcher.on_trial_complete("a", {"verdict": full.encode(), "done": True})
    (entry,) = journal.records()
    assert (entry.fate, entry.again, entry.reason) == (Fate.INTERRUPTED, True, full.reason)
    assert isinstance(searcher.fault, StoreError)
    assert str(searcher.fault).startswith("trial 0 could not be run here: file model.onnx")
    assert searcher.suggest("b") == Searcher.FINISHED


def test_a_lost_machine_is_no_failure_of_the_genome_but_not_for_ever(
    searcher: ParetoSearcher, dispatcher: Dispatcher, journal: Journal, tmp_path: Path
) -> None:
    error, told = tmp_path / "error.txt", events(searcher, dispatcher)
    error.write_text("Failure # 1 (occurred at noon)\nThe actor died because its node has died. Node Id: 9197f84e\n")
    for trial in "abcdefgh":
        searcher.suggest(trial)
        told.on_trial_error(0, [], dead(trial, error))
    records = journal.records()
    assert [entry.fate for entry in records] == [Fate.INTERRUPTED] * 8
    assert len({entry.key for entry in records}) == 1
    assert [entry.again for entry in records] == [True] * 7 + [False]


@pytest.mark.parametrize("machines", [1, 3])
def test_a_worker_out_of_reach_is_a_lost_machine_only_where_there_is_another(
    dispatcher: Dispatcher, journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machines: int
) -> None:  # fmt: skip
    told = ActorUnavailableError(
        "The actor is temporarily unavailable: RpcError: RPC Error message: Socket closed; RPC Error details: rpc_code: 14", None
    )
    error = tmp_path / "error.txt"
    error.write_text(f"Failure # 1 (occurred at noon)\n{told}\n")
    monkeypatch.setattr("ray.nodes", lambda: [{}] * machines)
    searcher = ParetoSearcher(dispatcher, seed=1)
    searcher.suggest("a")
    events(searcher, dispatcher).on_trial_error(0, [], dead("a", error))
    (entry,) = journal.records()
    assert (entry.fate, entry.again) == (Fate.INTERRUPTED if machines > 1 else Fate.FAILED, True)
    assert (entry.reason == NODE_LOST) == (machines > 1)


def test_a_search_without_room_for_a_worker_says_so(
    searcher: ParetoSearcher, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = events(searcher, dispatcher)
    monkeypatch.setattr("paretolens.search.searcher._STALL_S", 0.05)

    def warnings() -> int:
        time.sleep(0.06)
        told.on_step_begin(0, [])
        return caplog.text.count("no machine has room")

    assert warnings() == 0  # nothing was asked for
    searcher.suggest("a")
    assert warnings() == 1
    told.on_trial_start(0, [], dead("a"))
    assert warnings() == 1  # it runs


def test_a_journal_that_cannot_be_written_stops_the_search(
    searcher: ParetoSearcher, dispatcher: Dispatcher, journal: Journal, tmp_path: Path
) -> None:
    searcher.suggest("a")
    path = tmp_path / "study" / "journal.log"
    path.rename(tmp_path / "moved")
    path.mkdir()
    searcher.on_trial_complete("a", verdict(cost=1.0, gain=2.0))
    assert isinstance(searcher.fault, StoreError)
    assert dispatcher.stopped
    assert searcher.suggest("b") == Searcher.FINISHED


def test_tune_may_save_but_never_restore(searcher: ParetoSearcher, tmp_path: Path) -> None:
    searcher.save(str(tmp_path / "state"))
    with pytest.raises(RuntimeError, match="resumed from its journal"):
        searcher.restore(str(tmp_path / "state"))


def test_everything_stops_only_when_interrupted(searcher: ParetoSearcher, dispatcher: Dispatcher) -> None:
    received: list[str] = []
    stopper = WhenInterrupted(events(searcher, dispatcher), lambda: bool(received))
    assert not stopper.stop_all()
    received.append("SIGINT")
    assert stopper.stop_all()
    assert not stopper("a", {})


def test_what_waits_for_a_worker_is_left_to_a_resume_once_the_search_has_stopped(
    searcher: ParetoSearcher, dispatcher: Dispatcher, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[str] = []
    monkeypatch.setattr("ray.kill", killed.append)
    told = events(searcher, dispatcher)
    stopper = WhenInterrupted(told, lambda: False)
    for key in "ab":
        searcher.suggest(key)
    told.on_trial_start(0, [], at_work("a"))
    told.on_step_begin(0, [])
    dispatcher.stop("the time limit of 3 s was reached", as_asked=True)
    told.on_step_begin(0, [])
    assert [(entry.fate, entry.again, entry.reason) for entry in journal.records()] == [
        (None, False, ""), (Fate.INTERRUPTED, True, "the time limit of 3 s was reached"),
    ]  # fmt: skip
    assert not stopper.stop_all()  # one is at work
    told.on_trial_start(0, [], at_work("b"))  # Tune found a place all the same
    told.on_step_begin(0, [])
    told.on_trial_error(0, [], dead("b"))
    assert killed == ["worker of b"]
    searcher.on_trial_complete("a", verdict(cost=1.0, gain=2.0))
    assert stopper.stop_all()
    assert [entry.fate for entry in journal.records()] == [Fate.EVALUATED, Fate.INTERRUPTED]


def at_work(trial_id: str) -> Any:
    return SimpleNamespace(
        trial_id=trial_id, status="RUNNING", temporary_state=SimpleNamespace(ray_actor=f"worker of {trial_id}")
    )


def test_a_search_without_any_machine_ends_when_its_time_is_up(journal: Journal, cube: Space) -> None:
    sampler, now = make_sampler(Sampler.RANDOM, population=4, seed=0), [0.0]
    proposer = Proposer(space=cube, objectives=journal.objectives, sampler=sampler, seed=0)
    limits = Limits(trials=2, workers=2, failures=5, infeasible=5, seconds=3.0)
    dispatcher = Dispatcher(
        journal=journal, proposer=proposer, observer=Observers([]), limits=limits, clock=lambda: now[0]
    )  # fmt: skip
    searcher = ParetoSearcher(dispatcher, seed=1)
    told = events(searcher, dispatcher)
    stopper = WhenInterrupted(told, lambda: False)
    for key in "ab":
        searcher.suggest(key)
    for now[0], over in ((2.0, False), (3.0, True)):
        told.on_step_begin(0, [])  # Tune asks for no trial while two wait
        assert stopper.stop_all() is over
    assert [entry.fate for entry in journal.records()] == [Fate.INTERRUPTED] * 2


def test_a_fault_of_our_own_stops_the_search_and_says_where(
    searcher: ParetoSearcher, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ValueError("not positive\ndefinite")

    monkeypatch.setattr(dispatcher, "next", broken)
    assert searcher.suggest("a") == Searcher.FINISHED
    assert isinstance(searcher.fault, InternalError)
    told = str(searcher.fault)
    assert "ValueError in test_searcher.py, line " in told
    assert ": not positive definite)" in told
    assert dispatcher.stopped == told


@pytest.mark.parametrize("fault", [InternalError.of(ValueError("ours")), OSError("end of file")])
def test_only_what_ray_raises_is_tried_again(dispatcher: Dispatcher, tmp_path: Path, fault: Exception) -> None:
    attempts = []

    def fit() -> None:
        attempts.append(1)
        raise fault

    ours = isinstance(fault, InternalError)
    wanted = "ValueError: ours" if ours else r"Ray broke down 3 times .*\(OSError: end of file\)"
    with pytest.raises(InternalError if ours else BackendError, match=wanted):
        engine._search(dispatcher, tmp_path, fit)
    assert len(attempts) == (1 if ours else 3)
