"""The record: fates, exactly-once endings, resume, damage."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from paretolens.errors import ConfigurationError, IntegrityError, StoreError
from paretolens.search.journal import Journal, read_records
from paretolens.search.journal_file import repair_tail
from paretolens.search.ledger import ORPHANED
from paretolens.search.outcome import Fate, Objective, TrialOutcome
from paretolens.search.sampling import distributions
from paretolens.spaces.knobs import Space

Open = Callable[..., Journal]


@pytest.fixture
def space(grid: Callable[..., Space]) -> Space:
    return grid(8, 8)


def begin(journal: Journal, space: Space, number: int) -> int:
    genome = {"n0": number % 8, "n1": number // 8}
    return journal.begin(genome, distributions(space), key=f"key-{number}", system={"nsga2:generation": 0})


def evaluate(journal: Journal, space: Space, number: int, cost: float = 1.0) -> None:
    journal.end(begin(journal, space, number), Fate.EVALUATED, TrialOutcome(values={"cost": cost, "gain": 2.0}))


def test_an_evaluated_trial_is_read_back_whole(open_journal: Open, space: Space, tmp_path: Path) -> None:
    outcome = TrialOutcome(values={"cost": 1.5, "gain": 2.0}, metrics={"auc": 0.5}, details={"onnx": "model.onnx"})
    with open_journal() as journal:
        journal.end(begin(journal, space, 3), Fate.EVALUATED, outcome)
    (entry,) = read_records(tmp_path / "study")
    assert (entry.number, entry.key, entry.genome) == (0, "key-3", {"n0": 3, "n1": 0})
    assert (entry.fate, entry.values, entry.metrics, entry.details) == (
        Fate.EVALUATED, outcome.values, outcome.metrics, outcome.details,
    )  # fmt: skip
    assert entry.seconds >= 0
    assert entry.started is not None
    assert entry.finished is not None
    assert entry.finished >= entry.started


def test_optuna_sees_every_fate_as_the_table_says(open_journal: Open, space: Space, tmp_path: Path) -> None:
    with open_journal() as journal:
        evaluate(journal, space, 0, cost=5.0)
        journal.end(begin(journal, space, 1), Fate.EARLY_STOPPED, TrialOutcome(values={"cost": 0.1}))
        journal.end(begin(journal, space, 2), Fate.INFEASIBLE, TrialOutcome(values={}, violations={"latency_ms": 3.0}))
        journal.end(begin(journal, space, 3), Fate.FAILED, reason="loss is not finite")
        journal.end(begin(journal, space, 4), Fate.INTERRUPTED, reason="stopped by SIGINT", again=True)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "study" / "journal.log")))
    study = optuna.load_study(study_name="study", storage=storage, sampler=optuna.samplers.RandomSampler())
    complete, fail = TrialState.COMPLETE, TrialState.FAIL
    assert [trial.state for trial in study.trials] == [complete, complete, complete, fail, fail]
    assert [trial.constraints for trial in study.trials[:3]] == [{}, {"early_stopped": 1.0}, {"latency_ms": 3.0}]
    assert [trial.number for trial in study.best_trials] == [0]  # the early-stopped one would dominate it
    assert study.trials[1].values == [0.1, 2.0]  # what was not measured is the worst on record
    assert study.metric_names == ["cost", "gain"]
    assert study.directions == [optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE]


def test_a_trial_is_ended_once(open_journal: Open, space: Space) -> None:
    with open_journal() as journal:
        number = begin(journal, space, 0)
        journal.end(number, Fate.FAILED, reason="first")
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            journal.end(number, Fate.FAILED, reason="second")
        assert journal.records()[0].reason == "first"


def test_what_a_dead_driver_left_running_is_owed_again_but_not_for_ever(open_journal: Open, space: Space) -> None:
    for _ in range(20):
        with open_journal() as journal:
            begin(journal, space, 5)
    with open_journal() as journal:
        records = journal.records()
    assert [entry.fate for entry in records] == [Fate.INTERRUPTED] * 20
    assert {entry.reason for entry in records} == {ORPHANED}
    assert [entry.again for entry in records] == [True] * 19 + [False]


def test_another_configuration_is_refused(open_journal: Open) -> None:
    open_journal(fingerprint="abc").close()
    with pytest.raises(ConfigurationError, match="another configuration"):
        open_journal(fingerprint="xyz")
    open_journal(fingerprint="abc").close()  # the refusal has given the lock back


def test_other_directions_are_refused(open_journal: Open, tmp_path: Path) -> None:
    open_journal().close()
    turned = (Objective(name="cost", maximise=True), Objective(name="gain", maximise=True))
    with pytest.raises(ConfigurationError, match="another configuration"):
        Journal(tmp_path / "study", objectives=turned, fingerprint="abc")


def test_a_second_driver_is_refused_while_reading_goes_on(open_journal: Open, space: Space, tmp_path: Path) -> None:
    with open_journal() as journal:
        begin(journal, space, 0)
        with pytest.raises(StoreError, match="another driver"):
            open_journal()
        assert [entry.fate for entry in read_records(tmp_path / "study")] == [None]


def test_a_missing_journal_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"journal\.log does not exist"):
        read_records(tmp_path / "nothing")


@pytest.mark.parametrize("damage", [b'{"op_code":4,"work', b"\0" * 300, b'{"op_code"\n{"op\n', b"[1]\n"])
def test_a_damaged_tail_is_cut_and_a_copy_kept(open_journal: Open, space: Space, tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "study" / "journal.log"
    with open_journal() as journal:
        evaluate(journal, space, 0)
    sound = path.read_bytes()
    path.write_bytes(sound + damage)
    with open_journal() as journal:
        assert path.read_bytes() == sound
        assert (tmp_path / "study" / "journal.log.damaged-1").read_bytes() == sound + damage
        evaluate(journal, space, 1)
        assert [entry.fate for entry in journal.records()] == [Fate.EVALUATED] * 2


def test_a_file_that_is_no_journal_is_refused_and_left_alone(open_journal: Open, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "study" / "journal.log"
    with open_journal() as journal:
        evaluate(journal, space, 0)
    path.write_bytes(b"\x9f\x03\n" * 20)
    with pytest.raises(IntegrityError, match=r"journal\.log: not one line of it is a journal's"), open_journal():
        pass
    assert path.read_bytes() == b"\x9f\x03\n" * 20
    assert [file.name for file in path.parent.glob("journal.log.damaged*")] == []


def test_any_cut_leaves_a_journal_that_can_be_opened(open_journal: Open, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "study" / "journal.log"
    with open_journal() as journal:
        evaluate(journal, space, 0)
        begin(journal, space, 1)
    whole = path.read_bytes()
    for size in range(0, len(whole), 37):
        path.write_bytes(whole[:size])
        with open_journal() as journal:
            assert sum(entry.fate is Fate.EVALUATED for entry in journal.records()) <= 1
            assert all(entry.fate is not None for entry in journal.records())


def test_a_cut_between_two_lines_is_said(
    open_journal: Open, space: Space, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "study" / "journal.log"
    with open_journal() as journal:
        evaluate(journal, space, 0)
        kept = path.read_bytes()
        evaluate(journal, space, 1)
    whole = path.read_bytes()
    lines, lost = whole.count(b"\n"), whole.count(b"\n") - kept.count(b"\n")
    path.write_bytes(kept)
    with open_journal() as journal:
        assert [entry.fate for entry in journal.records()] == [Fate.EVALUATED]
    (said,) = caplog.messages
    assert f"has lost its last {lost} records" in said
    path.write_bytes(whole)
    path.unlink()
    open_journal().close()
    assert f"has lost its last {lines} records" in caplog.messages[1]


def test_a_seal_that_lags_behind_or_is_gone_is_no_fault(
    open_journal: Open, space: Space, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seal = tmp_path / "study" / "journal.log.seal"
    with open_journal() as journal:
        evaluate(journal, space, 0)
        before = seal.read_bytes()
        evaluate(journal, space, 1)
    for content in (before, b"", b'{"bytes": "x"}'):
        seal.write_bytes(content)
        open_journal().close()
    seal.unlink()
    with open_journal() as journal:
        evaluate(journal, space, 2)
    assert caplog.messages == []
    assert json.loads(seal.read_text())["bytes"] == (tmp_path / "study" / "journal.log").stat().st_size


def test_damage_in_the_middle_is_not_guessed_at(open_journal: Open, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "study" / "journal.log"
    with open_journal() as journal:
        evaluate(journal, space, 0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:-9] + b"\n", *lines[3:]]))
    with pytest.raises(IntegrityError, match="line 3 of"):
        open_journal()


def test_a_sound_journal_is_left_alone(open_journal: Open, tmp_path: Path) -> None:
    open_journal().close()
    assert repair_tail(tmp_path / "study" / "journal.log") is None
    assert repair_tail(tmp_path / "none.log") is None


@contextmanager
def full_disk(path: Path, spare: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_append_that_fails_halfway_leaves_no_broken_line(open_journal: Open, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "study" / "journal.log"
    with open_journal() as journal:
        evaluate(journal, space, 0)
        sound = path.read_bytes()
        with full_disk(path, spare=20), pytest.raises(StoreError, match="cannot be used"):
            begin(journal, space, 1)
        assert path.read_bytes() == sound
        evaluate(journal, space, 1)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())
    assert len(read_records(tmp_path / "study")) == 2
