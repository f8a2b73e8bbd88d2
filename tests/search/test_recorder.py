"""The journal and the tracking store, brought to the same after a driver was killed between the two."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from paretolens.mlflow.memory import MemoryTracker
from paretolens.mlflow.names import UPDATED, TrialState
from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import open_client
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.search.epochs import EpochLine
from paretolens.search.journal import Journal
from paretolens.search.observer import TrialStart
from paretolens.search.outcome import Fate, TrialOutcome, TrialRecord
from paretolens.search.recorder import Recorder
from paretolens.search.sampling import distributions
from paretolens.spaces.knobs import Space

_STATES = {"trial-0000": "complete", "trial-0001": "failed", "trial-0002": "complete"}


@pytest.fixture
def records(open_journal: Callable[..., Journal], cube: Space, tmp_path: Path) -> list[TrialRecord]:
    """Two evaluated trials with a failed one in between, and one that runs."""
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "model.onnx").write_bytes(b"onnx")
    with open_journal() as journal:
        for number in range(4):
            genome = {knob.name: 0.1 * number for knob in cube.knobs}
            journal.begin(genome, distributions(cube), key=f"key{number}", system={})
        for number in (0, 2):
            values, details = {"cost": 1.0 + number, "gain": 0.5}, {"folder": str(tmp_path / "trial")}
            outcome = TrialOutcome(values=values, metrics={"accuracy": 0.75}, details=details)
            journal.end(number, Fate.EVALUATED, outcome, seconds=3.0)
        journal.end(1, Fate.FAILED, reason="loss was not finite")
        return journal.records()


def test_a_store_without_the_end_of_a_trial_gets_it(
    records: list[TrialRecord], cube: Space, tmp_path: Path, new_store: Callable[[Path], str]
) -> None:
    store = new_store(tmp_path / "mlflow.db")
    spool, info = tmp_path / "spool.jsonl", StudyInfo(name="killed", identity="one")
    first = MlflowTracker(tracking_uri=store, spool=spool)
    first.start_study(info)
    first.start_trial("trial-0000", params={}, genome="key0")  # its end was never told; the others are not known at all
    first.close()
    for told in (3, 0):
        with MlflowTracker(tracking_uri=store, spool=spool) as tracker:
            tracker.start_study(info)
            assert Recorder(tracker, cube).catch_up(records) == told
            tracker.finish_study(TrialState.COMPLETE)
    trials = read_study("killed", tracking_uri=store).trials.set_index("trial")
    assert trials["state"].to_dict() == _STATES
    assert trials["reason"].to_dict() == {"trial-0000": "", "trial-0001": "loss was not finite", "trial-0002": ""}
    client = open_client(store)
    for entry in records[:3]:
        name = f"trial-{entry.number:04d}"
        run = client.get_run(trials.loc[name, "run_id"])
        own = {key: value for key, value in run.data.metrics.items() if key != UPDATED}
        assert own == {**entry.metrics, **entry.values, "seconds": entry.seconds}
        assert entry.finished is not None
        assert run.info.end_time == int(entry.finished.timestamp() * 1000)
        files = [item.path for item in client.list_artifacts(run.info.run_id, "model")]
        assert files == (["model/model.onnx"] if entry.fate is Fate.EVALUATED else [])


def test_a_study_that_moves_to_another_store_takes_its_trials_along(
    records: list[TrialRecord], cube: Space, tmp_path: Path, new_store: Callable[[Path], str]
) -> None:
    stores = [new_store(tmp_path / f"{name}.db") for name in ("old", "new")]
    info, told = StudyInfo(name="moves", identity="one"), []
    steps = ((0, "key0", 1, 0.5), (0, "key0", 2, 0.25), (2, "of another genome", 1, 9.0))
    lines = [
        EpochLine(number=number, key=key, step=step, seconds=1.0, metrics={"loss": loss}) for number, key, step, loss in steps
    ]
    for store in stores:
        with MlflowTracker(tracking_uri=store, spool=tmp_path / "spool.jsonl") as tracker:
            tracker.start_study(info)
            told.append(Recorder(tracker, cube).catch_up(records, lines))
            tracker.finish_study(TrialState.COMPLETE)
    assert told == [3, 3]
    old, new = (read_study("moves", tracking_uri=store).trials for store in stores)
    own = [name for name in old if name != "run_id"]
    assert new[own].equals(old[own])
    assert set(new["run_id"]).isdisjoint(old["run_id"])
    client, runs = open_client(stores[1]), new.set_index("trial")["run_id"]
    curve = client.get_metric_history(runs["trial-0000"], "epoch/loss")
    assert [(point.step, point.value) for point in curve] == [(1, 0.5), (2, 0.25)]
    assert client.get_metric_history(runs["trial-0002"], "epoch/loss") == []


def test_the_one_in_memory_catches_up_alike(records: list[TrialRecord], cube: Space) -> None:
    tracker = MemoryTracker()
    assert [Recorder(tracker, cube).catch_up(records) for _ in range(2)] == [3, 0]
    assert tracker.trial_states() == _STATES
    assert tracker.trials["trial-0002"].metrics == {"accuracy": 0.75, "cost": 3.0, "gain": 0.5, "seconds": 3.0}


def test_a_trial_that_waits_for_a_worker_is_no_run_yet(records: list[TrialRecord], cube: Space) -> None:
    tracker = MemoryTracker()
    recorder = Recorder(tracker, cube)
    for entry in records[:2]:
        recorder.trial_started(TrialStart(number=entry.number, key=entry.key, genome=entry.genome))
    assert tracker.trial_states() == {}
    recorder.trial_begun(0)
    assert tracker.trial_states() == {"trial-0000": "running"}
    recorder.trial_ended(records[0])
    recorder.trial_ended(replace(records[1], fate=Fate.INTERRUPTED, reason="the time limit was reached"))
    assert tracker.trial_states() == {"trial-0000": "complete", "trial-0001": "killed"}
    assert tracker.trials["trial-0001"].params == tracker.trials["trial-0000"].params | cube.active(records[1].genome)


def test_every_report_of_a_trial_is_kept_with_its_run(records: list[TrialRecord], cube: Space, tmp_path: Path) -> None:
    names = {"result.json", "eps.json", "eps_second.json", "low_rank.json", "pruning.json"}
    for name in names:
        (tmp_path / "trial" / name).write_text("{}")
    tracker = MemoryTracker()
    Recorder(tracker, cube).catch_up(records)
    assert {path.name for path in tracker.trials["trial-0002"].files[""]} == names
