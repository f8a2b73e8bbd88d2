"""The shared server as `mlflow/server/start.sh` starts it: PostgreSQL, users with passwords, killed and started again."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paretolens.errors import BackendError, StoreError
from paretolens.mlflow.front import front, tag_front
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import open_client
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.mlflow.ui import free_port, wait_until_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

START = Path(__file__).parents[2] / "mlflow" / "server" / "start.sh"
ADMIN, ADA = "an admin's long password", "ada's own long password"


@pytest.fixture
def database() -> Iterator[str]:
    """A PostgreSQL of our own on loopback, which refuses to run as root."""
    if shutil.which("initdb") is None:
        pytest.skip("PostgreSQL isn't installed")
    folder, port = Path(tempfile.mkdtemp(prefix="paretolens-pg-")), free_port()
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        who = {"user": "postgres", "group": owner.pw_gid}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run(["initdb", "-D", folder / "data", "-U", "paretolens", "--auth=trust", "-N"], check=True, **who, **quiet)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = ["pg_ctl", "-D", folder / "data", "-w"]
    subprocess.run([*control, "-o", options, "start"], check=True, **who, **quiet)
    try:
        subprocess.run(["createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "paretolens", "tracking"], check=True, **quiet)
        yield f"postgresql://paretolens@127.0.0.1:{port}/tracking"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, **who, **quiet)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start(database: str, tmp_path: Path) -> Iterator[Callable[[int], "subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []

    def launch(port: int) -> "subprocess.Popen[bytes]":
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # as in an active environment
        first = {} if (tmp_path / "shared" / "users.db").exists() else {"MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN}
        environment = {**os.environ, "PATH": path, **first, "DATABASE": database, "PORT": str(port), "WORKERS": "1"}
        log = (tmp_path / "server.log").open("ab")
        server = subprocess.Popen([START, tmp_path / "shared"], env=environment, stdout=log, stderr=log, start_new_session=True)
        started.append(server)
        try:
            wait_until_up(server, f"http://127.0.0.1:{port}")
        except BackendError:
            pytest.fail((tmp_path / "server.log").read_text()[-2000:])
        return server

    yield launch
    for server in started:
        _kill(server)


def _kill(server: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    server.wait()


def _sign_in(monkeypatch: pytest.MonkeyPatch, name: str, password: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def _trial(tracker: MlflowTracker, number: int, folder: Path) -> None:
    trial = f"trial-{number:04d}"
    tracker.start_trial(trial, params={"width": number}, genome=f"g{number}")
    tracker.log_epoch(trial, {"loss": 1.0 / (number + 1)}, step=1)
    tracker.log_artifacts(trial, {"": [folder / "model.onnx"]})
    metrics = {"accuracy": 0.5 + number / 10, "latency_ms": 1.0 + number, "eps": 0.5}
    tracker.finish_trial(trial, TrialState.COMPLETE, metrics=metrics)


def test_two_searches_outlive_a_crash_of_the_server_and_strangers_see_nothing(
    start: Callable[[int], "subprocess.Popen[bytes]"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.server import get_app_client

    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    server = start(port)
    _sign_in(monkeypatch, "admin", ADMIN)
    get_app_client("basic-auth", tracking_uri=uri).create_user("ada", ADA)
    _sign_in(monkeypatch, "ada", ADA)
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    names = ("one", "two")
    trackers = {name: MlflowTracker(tracking_uri=uri, spool=tmp_path / f"{name}.jsonl") for name in names}
    for name, tracker in trackers.items():
        tracker.start_study(StudyInfo(name=name))
        _trial(tracker, 0, tmp_path)
    _kill(server)  # possibly in the middle of a request
    for tracker in trackers.values():
        _trial(tracker, 1, tmp_path)
    start(port)
    for name, tracker in trackers.items():
        tracker.finish_study(TrialState.COMPLETE)
        assert tracker.flush(120)
        tracker.close()
        record = read_study(name, tracking_uri=uri)
        assert record.trials["trial"].tolist() == ["trial-0000", "trial-0001"]
        assert set(record.trials["state"]) == {"complete"}
        client = open_client(uri)
        for run_id in record.trials["run_id"]:
            assert [file.path for file in client.list_artifacts(run_id)] == ["model.onnx"]
    assert len(front(list(names), tracking_uri=uri).members) == 2  # equal trials of both count once
    assert tag_front(front("one", tracking_uri=uri)) == 2
    for stranger, password in (("ada", "a wrong password"), ("", "")):
        _sign_in(monkeypatch, stranger, password)
        with pytest.raises(StoreError, match="MLFLOW_TRACKING_USERNAME"):
            front("one", tracking_uri=uri)


def test_the_first_start_asks_for_a_password(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_AUTH_ADMIN_PASSWORD"}
    done = subprocess.run([START, tmp_path / "shared"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "export MLFLOW_AUTH_ADMIN_PASSWORD" in done.stderr
