"""A real tracking server, killed in the middle of two searches and started again by `serve`."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paretolens.errors import BackendError, ConfigurationError, StoreError
from paretolens.mlflow.events import Event
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import open_client
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.mlflow.ui import free_port, runs_link, serve, server_command, server_environment, wait_until_up
from paretolens.mlflow.writer import RunWriter

Server = subprocess.Popen[bytes]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[int], Server]]:
    started: list[Server] = []

    def launch(port: int) -> Server:
        command = server_command(f"sqlite:///{tmp_path}/server.db", host="127.0.0.1", port=port)
        server = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=server_environment(f"sqlite:///{tmp_path}/server.db"),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(server)
        wait_until_up(server, f"http://127.0.0.1:{port}")
        return server

    yield launch
    for server in started:
        _kill(server)


def _kill(server: Server) -> None:
    """The server with all of its workers, as a machine that goes down."""
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    server.wait()


def _trial(tracker: MlflowTracker, name: str, folder: Path) -> None:
    tracker.start_trial(name, params={"width": int(name)}, genome=f"g{name}")
    for step in range(3):
        tracker.log_epoch(name, {"loss": 1.0 / (step + 1)}, step=step)
    tracker.log_artifacts(name, {"": [folder / "model.onnx"]})
    tracker.finish_trial(name, TrialState.COMPLETE, metrics={"accuracy": 0.9})


def _by_another_thread(apply: Callable[[RunWriter, Event], None]) -> Callable[[RunWriter, Event], None]:
    def checked(writer: RunWriter, event: Event) -> None:
        assert threading.current_thread() is not threading.main_thread(), "the search waits for the store"
        apply(writer, event)

    return checked


@pytest.mark.slow
def test_an_outage_loses_nothing_doubles_nothing_and_never_holds_up_a_search(
    start: Callable[[int], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One study goes on through the outage, another one ends within it and is taken up again by a new driver."""
    port, spools = free_port(), {name: tmp_path / name / "tracking.jsonl" for name in ("stays", "ends")}
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    uri = f"http://127.0.0.1:{port}"
    server = start(port)
    trackers = {name: MlflowTracker(tracking_uri=uri, spool=spool, close_timeout_s=20.0) for name, spool in spools.items()}
    for name, tracker in trackers.items():
        tracker.start_study(StudyInfo(name=name))
        _trial(tracker, "0", tmp_path)
    _kill(server)  # possibly in the middle of a request
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "apply", _by_another_thread(RunWriter.apply))
        for tracker in trackers.values():
            for trial in "123":
                _trial(tracker, trial, tmp_path)
        trackers["ends"].close()
    assert spools["ends"].stat().st_size > 0
    deadline = time.monotonic() + 60
    while not trackers["stays"].trouble and time.monotonic() < deadline:
        time.sleep(0.1)  # its thread learns of the outage at its own pace
    assert trackers["stays"].trouble != ""
    with pytest.raises(StoreError, match="no answer"):
        MlflowTracker(tracking_uri=uri, spool=spools["ends"]).start_study(StudyInfo(name="ends"))

    pages: list[str] = []

    def back(address: str) -> None:
        assert trackers["stays"].flush(120)
        assert trackers["stays"].trouble == ""
        trackers["ends"] = MlflowTracker(tracking_uri=address, spool=spools["ends"])
        trackers["ends"].start_study(StudyInfo(name="ends"))
        for name, tracker in trackers.items():
            _trial(tracker, "4", tmp_path)
            tracker.close()
            assert not spools[name].exists()
            _check_everything_is_there_once(address, name)
        with urllib.request.urlopen(address, timeout=30) as answer:
            pages.append(answer.read(2000).decode())
        raise KeyboardInterrupt  # what Ctrl-C does to `paretolens ui`

    assert serve(f"sqlite:///{tmp_path}/server.db", port=port, ready=back) == uri
    assert "<title>MLflow</title>" in pages[0]
    with pytest.raises(OSError, match=r"."):
        urllib.request.urlopen(f"{uri}/health", timeout=2)


def _check_everything_is_there_once(uri: str, study: str) -> None:
    record, client = read_study(study, tracking_uri=uri), open_client(uri)
    assert record.trials["trial"].tolist() == ["0", "1", "2", "3", "4"]
    assert set(record.trials["state"]) == {"complete"}
    assert record.trials["params.width"].tolist() == [0, 1, 2, 3, 4]
    for run in record.trials["run_id"]:
        history = client.get_metric_history(run, "epoch/loss")
        assert [(point.step, point.value) for point in history] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
        assert [item.path for item in client.list_artifacts(run)] == ["model.onnx"]


def test_what_a_server_says_is_shown_if_it_ends_by_itself(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = [sys.executable, "-c", "import sys; print('no room at the inn'); sys.exit(3)"]
    monkeypatch.setattr("paretolens.mlflow.ui.server_command", lambda *_, **__: ended)
    with pytest.raises(BackendError, match="ended with code 3 before it answered; its lines above say why"):
        serve(store, port=free_port())
    assert "no room at the inn" in capsys.readouterr().err


def test_a_port_that_is_taken(store: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="already in use; choose another with --port"):
            serve(store, port=taken.getsockname()[1])
    with pytest.raises(ConfigurationError, match="between 1 and 65535, got 70000"):
        serve(store, port=70000)


def test_links_into_the_ui() -> None:
    assert runs_link("http://h:1/", "7") == "http://h:1/#/experiments/7/runs?workflowType=machine_learning"
    link = runs_link("http://h:1", "7", study="a-1")
    assert urllib.parse.unquote(link).endswith('&searchFilter=tags.paretolens.study = "a-1"')


def test_no_store_no_ui(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is none"):
        serve(f"sqlite:///{tmp_path}/none.db")


def test_a_server_has_its_ui_already() -> None:
    shown: list[str] = []
    assert serve("http://tracking:5000/", ready=shown.append) == "http://tracking:5000"
    assert shown == ["http://tracking:5000"]
