"""The rules of a tracker, held by the one in memory and the one on a real store alike."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paretolens.errors import StoreError
from paretolens.mlflow.events import Event
from paretolens.mlflow.memory import MemoryTracker
from paretolens.mlflow.names import UPDATED, Tag, TrialState, teacher_metrics
from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import open_client
from paretolens.mlflow.system import own_process
from paretolens.mlflow.tracking import DatasetInfo, MlflowTracker, StudyInfo, Tracker
from paretolens.mlflow.writer import RunWriter


def _search(tracker: Tracker, name: str, files: Path) -> None:
    """A small search as a driver would tell it."""
    study = StudyInfo(
        name=name,
        configuration={"search.trials": 4, "search.seed": 0},
        tags={"device": "cpu", "code": "abc"},
        description="**hi**",
    )
    tracker.start_study(study)
    tracker.log_study(teacher_metrics({"accuracy": 0.96, "latency_ms": 14.7}), tags={"explained": "128 clips"})
    tracker.start_trial("0", params={"width": 32, "qat": True, "backbone": "plain"}, genome="aaa")
    for step in (0, 1, 1, 0, 2):
        tracker.log_epoch("0", {"loss": 1 / (step + 1), "accuracy": float("nan") if step == 2 else 0.5}, step=step)
    tracker.log_artifacts("0", {"": [files / "model.onnx"], "maps": [files / "overlays"]})
    tracker.finish_trial("0", TrialState.COMPLETE, metrics={"accuracy": 0.9, "eps": 0.6, "gap": float("inf")})
    tracker.start_trial("1", params={"width": 64}, genome="bbb")
    tracker.finish_trial("1", TrialState.FAILED, metrics={}, reason="loss was not finite")
    tracker.start_trial("2", params={"width": 96}, genome="ccc")
    tracker.finish_trial("2", TrialState.INFEASIBLE, metrics={"latency_ms": 30.0}, reason="latency over the limit")
    tracker.start_trial("3", params={"width": 128}, genome="ddd")
    tracker.log_epoch("3", {"loss": 0.5}, step=0)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "trial"
    (folder / "overlays").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"onnx")
    (folder / "overlays" / "a.png").write_bytes(b"png")
    return folder


def test_memory_and_store_end_up_with_the_same(tracker: MlflowTracker, store: str, files: Path) -> None:
    memory = MemoryTracker()
    for each in (memory, tracker):
        _search(each, "same", files)
    assert tracker.flush(120)
    record = read_study("same", tracking_uri=store)
    assert record.trials["trial"].tolist() == list(memory.trials)
    assert record.teacher == {"accuracy": 0.96, "latency_ms": 14.7}
    assert record.metrics == memory.run.metrics
    client = open_client(store)
    for row in record.trials.to_dict("records"):
        kept = memory.trials[row["trial"]]
        assert (row["state"], row["reason"], row["genome"]) == (kept.state, kept.reason, kept.genome)
        own = {key.removeprefix("params."): value for key, value in row.items() if key.startswith("params.") and pd.notna(value)}
        assert own == kept.params
        assert {name: row[name] for name in kept.metrics} == kept.metrics
        for step, values in kept.curves.items():
            for name, value in values.items():
                points = [point for point in client.get_metric_history(row["run_id"], f"epoch/{name}") if point.step == step]
                assert [point.value for point in points] == [value]


def test_what_a_person_sees_in_the_ui(tracker: MlflowTracker, store: str, files: Path) -> None:
    _search(tracker, "seen", files)
    tracker.finish_study(TrialState.COMPLETE, metrics={"hypervolume": 0.5})
    assert tracker.flush(120)
    client, record = open_client(store), read_study("seen", tracking_uri=store)
    parent = client.get_run(record.run_id)
    assert (parent.info.run_name, parent.info.status) == ("seen", "FINISHED")
    assert parent.data.params == {"search.trials": "4", "search.seed": "0"}
    wanted = {
        "paretolens.kind": "study",
        "paretolens.state": "complete",
        "paretolens.device": "cpu",
        "mlflow.note.content": "**hi**",
    }
    assert wanted.items() <= parent.data.tags.items()
    runs = {
        run.data.tags[Tag.TRIAL]: run
        for run in client.search_runs([record.experiment_id], f"tags.`{Tag.STUDY}` = 'seen'")
        if Tag.TRIAL in run.data.tags
    }
    assert {name: run.info.status for name, run in runs.items()} == {
        "0": "FINISHED",
        "1": "FAILED",
        "2": "FINISHED",
        "3": "RUNNING",
    }
    assert runs["0"].data.tags["mlflow.parentRunId"] == record.run_id
    assert runs["0"].data.tags[Tag.NONFINITE] == "gap"
    assert "gap" not in runs["0"].data.metrics
    listed = [item.path for folder in ("", "maps/overlays") for item in client.list_artifacts(runs["0"].info.run_id, folder)]
    assert listed == ["maps", "model.onnx", "maps/overlays/a.png"]


@pytest.mark.parametrize("make", [MemoryTracker, None])
def test_resume_closes_orphans_and_doubles_nothing(
    make: Callable[[], Any] | None, store: str, tmp_path: Path, files: Path, request: pytest.FixtureRequest
) -> None:
    name = f"resume-{request.node.callspec.indices['make']}"
    spool = tmp_path / "spool.jsonl"
    memory = MemoryTracker()

    def driver() -> Any:
        return memory if make else MlflowTracker(tracking_uri=store, spool=spool)

    first = driver()
    _search(first, name, files)
    first.close()
    second = driver()
    second.start_study(StudyInfo(name=name, configuration={"search.trials": 8, "search.new": 1}))
    second.start_trial("1", params={"width": 64}, genome="bbb")  # tried again
    second.finish_trial("1", TrialState.COMPLETE, metrics={"accuracy": 0.8})
    second.start_trial("4", params={"width": 8}, genome="eee")
    second.finish_trial("4", TrialState.COMPLETE, metrics={"accuracy": 0.7})
    second.close()
    states = {"0": "complete", "1": "complete", "2": "infeasible", "3": "killed", "4": "complete"}
    if make:
        assert {key: str(run.state) for key, run in memory.trials.items()} == states
        return
    record = read_study(name, tracking_uri=store)
    assert dict(zip(record.trials["trial"], record.trials["state"], strict=True)) == states
    assert len(record.trials) == 5
    assert record.params["search.trials"] == "4"  # as it was started; MLflow's parameters never change
    assert record.params["search.new"] == "1"
    statuses = [open_client(store).get_run(run).info.status for run in record.trials["run_id"]]
    assert statuses.count("KILLED") == 1
    assert "RUNNING" not in statuses


def test_two_studies_of_one_name_but_another_identity(store: str, tmp_path: Path) -> None:
    for identity in ("a", "b"):
        with MlflowTracker(tracking_uri=store, spool=None) as tracker:
            tracker.start_study(StudyInfo(name="twins", identity=identity))
            run = tracker.run_id
    with pytest.raises(StoreError, match=r"2 studies in .* have that name; name one by its run id"):
        read_study("twins", tracking_uri=store)
    assert read_study(run, tracking_uri=store).tags[Tag.IDENTITY] == "b"


@pytest.mark.parametrize(
    ("error", "state"), [(ValueError("the teacher\nfailed"), TrialState.FAILED), (KeyboardInterrupt(), TrialState.KILLED)]
)
def test_an_exception_leaves_no_study_running(error: BaseException, state: TrialState, store: str, tmp_path: Path) -> None:
    study = StudyInfo(name=f"broken-{state}")
    with pytest.raises(type(error)), MlflowTracker(tracking_uri=store, spool=tmp_path / "spool.jsonl") as tracker:
        tracker.start_study(study)
        raise error
    client = open_client(store)
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.data.tags[Tag.STATE]) == (state.mlflow_status, state)
    assert run.data.tags[Tag.REASON] == ("the teacher failed" if state is TrialState.FAILED else "KeyboardInterrupt")
    with MlflowTracker(tracking_uri=store, spool=tmp_path / "spool.jsonl") as tracker:
        tracker.start_study(study)
        tracker.finish_study(TrialState.COMPLETE)
    run = client.get_run(run.info.run_id)
    assert (run.info.status, run.data.tags[Tag.STATE], run.data.tags[Tag.REASON]) == ("FINISHED", "complete", "")


def test_an_exception_after_the_end_of_the_study_changes_nothing(store: str) -> None:
    with pytest.raises(OSError, match="full"), MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="done"))
        tracker.finish_study(TrialState.COMPLETE)
        raise OSError("the disk is full")
    assert open_client(store).get_run(tracker.run_id).data.tags[Tag.STATE] == "complete"


def test_more_metrics_leave_a_trial_as_it_ended(tracker: MlflowTracker, store: str) -> None:
    client, ended = open_client(store), datetime(2026, 1, 2, 3, 4, 5)
    tracker.start_study(StudyInfo(name="more"))
    tracker.start_trial("0", params={}, genome="aaa", at=datetime(2026, 1, 2, 3, 4, 0))
    tracker.finish_trial("0", TrialState.PRUNED, metrics={"accuracy": 0.5}, at=ended)
    tracker.log_trial("0", {"quiet_ms": 2.5})
    assert tracker.flush(120)
    assert tracker.trial_states() == {"0": "pruned"}
    (row,) = read_study("more", tracking_uri=store).trials.to_dict("records")
    run = client.get_run(row["run_id"])
    assert {name: value for name, value in run.data.metrics.items() if name != UPDATED} == {"accuracy": 0.5, "quiet_ms": 2.5}
    assert (run.info.end_time, run.info.end_time - run.info.start_time) == (int(ended.timestamp() * 1000), 5000)


def test_telling_never_waits_for_the_store(tracker: MlflowTracker, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answering, apply = threading.Event(), RunWriter.apply

    def slow(self: RunWriter, event: Event) -> None:
        assert answering.wait(600)
        apply(self, event)

    tracker.start_study(StudyInfo(name="quick"))
    monkeypatch.setattr(RunWriter, "apply", slow)
    tracker.start_trial("3", params={}, genome="ddd")
    for step in range(60):
        tracker.log_epoch("3", {"loss": 0.1}, step=step)
    tracker.finish_trial("3", TrialState.COMPLETE, metrics={"accuracy": 0.5})  # told in full while the store says nothing
    assert read_study("quick", tracking_uri=store).trials.empty
    answering.set()
    assert tracker.flush(120)
    assert read_study("quick", tracking_uri=store).trials["accuracy"].tolist() == [0.5]


def test_a_refused_record_holds_up_nobody(
    tracker: MlflowTracker, store: str, tmp_path: Path, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _search(tracker, "refused", files)
        tracker.log_study({}, tags={"no//such/../name": "1"})
        tracker.log_artifacts("3", {"": [tmp_path / "gone.onnx"]})
        tracker.finish_trial("3", TrialState.COMPLETE, metrics={"accuracy": 0.5})
        assert tracker.flush(120)
    assert caplog.text.count("refused a record") == 2
    assert "gone.onnx" in caplog.text
    assert len((tmp_path / "tracking.jsonl.rejected").read_text().splitlines()) == 2
    assert read_study("refused", tracking_uri=store).trials.set_index("trial").loc["3", "accuracy"] == 0.5


def test_records_before_the_study_are_left_out_without_raising(store: str, caplog: pytest.LogCaptureFixture) -> None:
    tracker = MlflowTracker(tracking_uri=store, spool=None)
    with caplog.at_level(logging.WARNING):
        tracker.log_epoch("0", {"loss": 1.0}, step=0)
    assert "before the study was started" in caplog.text
    assert tracker.flush(1)
    tracker.close()


def test_system_metrics_reach_the_parent(store: str) -> None:
    with MlflowTracker(tracking_uri=store, spool=None, system_metrics_s=0.05) as tracker:
        tracker.start_study(StudyInfo(name="system"))
        name, metrics, deadline = "system/system_memory_usage_percentage", dict[str, float](), time.monotonic() + 60
        while name not in metrics and time.monotonic() < deadline:
            time.sleep(0.05)
            metrics = dict(read_study("system", tracking_uri=store).metrics)
    assert 0 < metrics[name] <= 100


def test_a_store_that_can_not_be_used_stops_before_anything_starts(tmp_path: Path) -> None:
    tracker = MlflowTracker(tracking_uri=f"sqlite:///{tmp_path}", spool=tmp_path / "spool.jsonl")
    with pytest.raises(StoreError, match="is a folder"):
        tracker.start_study(StudyInfo(name="never"))
    assert list(tmp_path.iterdir()) == []


def test_data_sets_are_listed_beside_the_run_once(tracker: MlflowTracker, store: str) -> None:
    sets = [
        DatasetInfo(name=f"clips-{split}", digest="d" * 36, context=split, source=f"cache/{split}") for split in ("train", "val")
    ]
    tracker.start_study(StudyInfo(name="fed"))
    tracker.log_datasets(sets)
    tracker.log_datasets(sets)  # as a resumed study does
    assert tracker.flush(120)
    inputs = open_client(store).get_run(tracker.run_id).inputs.dataset_inputs
    assert sorted((one.dataset.name, one.dataset.digest, one.tags[0].value) for one in inputs) == [
        ("clips-train", "d" * 36, "train"),
        ("clips-val", "d" * 36, "val"),
    ]


def test_what_a_trial_s_process_takes_is_in_the_tab_of_system_metrics(tracker: MlflowTracker, store: str) -> None:
    tracker.start_study(StudyInfo(name="measured"))
    tracker.start_trial("0", params={}, genome="g")
    tracker.log_epoch("0", {"loss": 1.0, **own_process()}, step=1)
    tracker.finish_trial("0", TrialState.COMPLETE, metrics={"accuracy": 0.5})
    assert tracker.flush(120)
    trials = read_study("measured", tracking_uri=store).trials
    assert not [name for name in trials if name.startswith("system/")]
    run = open_client(store).get_run(trials.loc[0, "run_id"])
    assert run.data.metrics["system/process_memory_megabytes"] > 10
