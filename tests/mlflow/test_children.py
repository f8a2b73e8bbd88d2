"""Reads of a large study: only what changed is fetched again, and nothing that changed is missed."""

from pathlib import Path

import pytest

from paretolens.mlflow import children
from paretolens.mlflow.amend import add_metrics
from paretolens.mlflow.front import front, tag_front
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.records import StudyRecord, read_study
from paretolens.mlflow.store import open_client
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo

METRICS = {"accuracy": 0.9, "latency_ms": 2.0, "eps": 0.5}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "SMALLEST_CACHED", 3)
    monkeypatch.setattr(children, "_MARGIN_MS", 0)


class Fetched:
    """How many runs each read fetched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        whole = children.search_runs

        def counted(*arguments: object, **options: object) -> list[object]:
            runs = whole(*arguments, **options)  # type: ignore[arg-type]
            self.count += len(runs)
            return runs

        monkeypatch.setattr(children, "search_runs", counted)

    def since(self) -> int:
        count, self.count = self.count, 0
        return count


def test_only_what_changed_is_fetched_again(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched, cache = Fetched(monkeypatch), tmp_path / "cache"

    def read(**options: bool) -> StudyRecord:
        return read_study("large", tracking_uri=store, cache=cache, **options)

    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="large"))
        for number in range(6):
            tracker.start_trial(str(number), params={"width": number, "name": "a b"}, genome=f"g{number}")
            tracker.finish_trial(str(number), TrialState.COMPLETE, metrics={**METRICS, "accuracy": 0.9 + number / 100})
        tracker.start_trial("runs", params={}, genome="g")
        assert tracker.flush(120)
        whole = read().trials
        assert (len(whole), fetched.since()) == (7, 7)
        assert len(list(cache.glob("*.jsonl"))) == 1
        again = read().trials
        assert fetched.since() == 1  # the one that runs
        assert again.equals(whole)
        tracker.finish_trial("runs", TrialState.FAILED, metrics={})
        tracker.log_trial("2", {"quiet_ms": 1.5})  # a figure that comes after the end
        assert tracker.flush(120)
        later = read().trials.set_index("trial")
        assert fetched.since() == 2
        assert (later.loc["runs", "state"], later.loc["2", "quiet_ms"]) == ("failed", 1.5)
        assert later.loc["2", "params.width"] == 2
        tracker.start_trial("2", params={}, genome="g2")  # taken up again
        assert tracker.flush(120)
        assert read().trials.set_index("trial").loc["2", "state"] == "running"
        tracker.finish_trial("2", TrialState.COMPLETE, metrics=METRICS)
    fetched.since()
    found = front("large", tracking_uri=store, cache=cache)
    assert fetched.since() == 1
    changed = tag_front(found)
    marked = read().trials
    assert fetched.since() == changed
    assert marked.loc[marked["pareto"] == "true", "trial"].tolist() == found.members["trial"].tolist()
    client, first = open_client(store), marked.loc[0, "run_id"]
    client.delete_run(first)
    assert first not in set(read().trials["run_id"])
    client.restore_run(first)
    assert first in set(read().trials["run_id"])
    second = marked.loc[1, "run_id"]
    add_metrics(second, {"on_onnxruntime_cpu_1t_p50_ms": 3.0}, tracking_uri=store, stamped=True)
    assert read().trials.set_index("run_id").loc[second, "on_onnxruntime_cpu_1t_p50_ms"] == 3.0
    client.log_metric(first, "by_hand", 1.0)
    assert "by_hand" not in read().trials
    assert "by_hand" in read(refresh=True).trials
    assert "by_hand" in read().trials


def test_a_run_that_another_program_ended_stays(store: str, tmp_path: Path) -> None:
    def read() -> list[tuple[str, str]]:
        trials = read_study("ended-elsewhere", tracking_uri=store, cache=tmp_path / "cache").trials
        return sorted(zip(trials["trial"], trials["run_id"], strict=True))

    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="ended-elsewhere"))
        for number in range(4):
            tracker.start_trial(str(number), params={}, genome=f"g{number}")
            if number:
                tracker.finish_trial(str(number), TrialState.COMPLETE, metrics=METRICS)
        assert tracker.flush(120)
        first = read()
        assert len(first) == 4
        open_client(store).set_terminated(first[0][1], "KILLED")  # without a stamp
        assert read() == first
        tracker.start_trial("4", params={}, genome="g4")
        tracker.finish_trial("4", TrialState.COMPLETE, metrics=METRICS)  # a newer stamp
        assert tracker.flush(120)
        assert [trial for trial, _ in read()] == ["0", "1", "2", "3", "4"]
        assert read()[:4] == first
        open_client(store).delete_run(first[0][1])
        assert [trial for trial, _ in read()] == ["1", "2", "3", "4"]


def test_a_file_that_is_damaged_is_made_again(
    store: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="cut"))
        for number in range(4):
            tracker.start_trial(str(number), params={}, genome=f"g{number}")
            tracker.finish_trial(str(number), TrialState.COMPLETE, metrics=METRICS)
    whole = read_study("cut", tracking_uri=store, cache=tmp_path)
    path = children.cache_file(tmp_path, whole.run_id)
    sound = path.read_text()
    for damaged in (sound[: len(sound) // 2], "", '{"format": 0}\n', "[]\n", sound.splitlines()[0] + "\n"):
        path.write_text(damaged)
        assert read_study("cut", tracking_uri=store, cache=tmp_path).trials.equals(whole.trials)
        assert path.read_text() == sound
    assert caplog.text.count("is read anew") == 5
    folder = tmp_path / "file"
    folder.write_text("in the way")
    assert len(read_study("cut", tracking_uri=store, cache=folder).trials) == 4
    assert "cannot be written" in caplog.text


def test_small_studies_leave_no_file(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "SMALLEST_CACHED", 500)
    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="small"))
        tracker.start_trial("0", params={}, genome="g")
        tracker.finish_trial("0", TrialState.COMPLETE, metrics=METRICS)
    assert len(read_study("small", tracking_uri=store, cache=tmp_path).trials) == 1
    assert list(tmp_path.iterdir()) == []
