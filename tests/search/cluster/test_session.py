"""A real cluster of several raylets on this machine: one is killed in the middle of a search, one does not see the workspace.

The head has no cores, as on a cluster whose head only schedules; trials run on machines with the resource `spot`, latencies are
measured on the one machine with `latency:test`.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from paretolens.errors import BackendError, ConfigurationError, StoreError, TrialError
from paretolens.evaluators.latency import Backend, LatencySettings
from paretolens.evaluators.latency.calibration import calibration_model
from paretolens.search.cluster.room import await_room
from paretolens.search.cluster.session import joined
from paretolens.search.cluster.shared import ensure_shared
from paretolens.search.cluster.slot import NAMESPACE, SlotBench, open_slot, slot_name, slot_version
from paretolens.search.engine import EngineSettings, run
from paretolens.search.journal import Journal
from paretolens.search.ledger import NODE_LOST
from paretolens.search.observer import Epoch, TrialStart
from paretolens.search.outcome import Fate, Report, TrialOutcome, TrialRecord
from paretolens.search.worker import Work
from paretolens.spaces.knobs import Genome, Space

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SLOT = "latency:test"
MEMORY = 80 * 2**20
FAST = LatencySettings(runs=5, min_runs=2, warmup=1, seconds=0.5)
DEATH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    ray.shutdown()  # of the one that studies of other tests share
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False, "_system_config": DEATH}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")  # as docs/cluster.md wants it
        ray._raylet.Config.initialize("")
        made = Cluster(initialize_head=True, head_node_args=head)
        made.add_node(num_cpus=1, object_store_memory=MEMORY, resources={SLOT: 1})
        yield made
        ray.shutdown()
        made.shutdown()
    ray._raylet.Config.initialize("")


def settings(cluster: Cluster, **others: Any) -> EngineSettings:
    return EngineSettings(address=cluster.address, worker_resources={"spot": 1.0}, latency_resource=SLOT, **others)


def add_spot(cluster: Cluster, **further: float) -> Any:
    return cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=MEMORY, resources={"spot": 1, **further})


def timed(genome: Genome, report: Report) -> TrialOutcome:
    """Sends a file to the slot; says which machine it ran on and which process timed it. A doomed machine never gets so far."""
    path, node = Path("model.onnx"), ray.get_runtime_context().get_node_id()
    path.write_bytes(calibration_model())
    doomed = any("doomed" in found["Resources"] for found in ray.nodes() if found["NodeID"] == node)
    report({"doomed": float(doomed)})
    if doomed:
        time.sleep(250)  # until the machine is killed
    measured = SlotBench(SLOT, limit_s=60.0).measure(path, Backend.ONNXRUNTIME, FAST, None)
    details = {
        "node": node,
        "package": __import__("paretolens").__file__,
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }
    return TrialOutcome(values={"cost": measured.latency_ms, "gain": float(genome["x1"])}, details=details)


class Killing:
    """Kills the doomed machine once a trial runs on it, and starts another."""

    def __init__(self, cluster: Cluster, victim: Any) -> None:
        self._cluster, self._victim, self.done = cluster, victim, threading.Event()

    def trial_started(self, start: TrialStart) -> None:
        """Nothing."""

    def trial_begun(self, number: int) -> None:
        """Nothing."""

    def trial_reported(self, epoch: Epoch) -> None:
        """The moment: the doomed machine's trial is in its midst."""
        if epoch.metrics.get("doomed") and not self.done.is_set():
            self.done.set()
            self._cluster.remove_node(self._victim, allow_graceful=False)
            add_spot(self._cluster)

    def trial_ended(self, entry: TrialRecord) -> None:
        """Nothing."""


def test_a_search_survives_the_loss_of_a_machine_and_times_everything_in_one_slot(
    cluster: Cluster, open_journal: Callable[..., Journal], cube: Space, tmp_path: Path
) -> None:
    add_spot(cluster)
    victim = add_spot(cluster, doomed=1)
    search = settings(cluster, trials=8, workers=2, gpus_per_worker=0.5)
    killing = Killing(cluster, victim)
    with joined(search, tmp_path) as machines, open_journal() as journal:
        assert machines == 4
        work = Work(target=timed, objectives=("cost", "gain"))
        result = run(cube, work, settings=search, journal=journal, observers=[killing])
        records = journal.records()
        nodes = {node["NodeID"] for node in ray.nodes()}
    assert killing.done.is_set()
    assert result.completed == 8
    evaluated = [entry for entry in records if entry.fate is Fate.EVALUATED]
    lost = [entry for entry in records if entry.fate is not Fate.EVALUATED]
    assert len(evaluated) == len({entry.key for entry in evaluated}) == 8
    assert lost
    assert {(entry.fate, entry.reason) for entry in lost} == {(Fate.INTERRUPTED, NODE_LOST)}
    assert {entry.key for entry in lost} <= {entry.key for entry in evaluated}
    # Not that two machines finished trials: where the new one starts slowly, the one that is left may evaluate all eight.
    assert {entry.details["node"] for entry in evaluated} <= nodes
    assert all("runtime_resources" in entry.details["package"] for entry in evaluated)  # the driver's code was shipped
    assert {entry.details["gpus"] for entry in evaluated} == {"0"}
    assert all(entry.values["cost"] > 0 for entry in evaluated)


class Beginning:
    """Leaves a file once so many trials have been handed out."""

    def __init__(self, path: Path, trials: int) -> None:
        self._path, self._trials = path, trials

    def trial_started(self, start: TrialStart) -> None:
        """The moment, possibly."""
        if start.number == self._trials - 1:
            self._path.touch()

    def trial_begun(self, number: int) -> None:
        """Nothing."""

    def trial_reported(self, epoch: Epoch) -> None:
        """Nothing."""

    def trial_ended(self, entry: TrialRecord) -> None:
        """Nothing."""


def test_all_workers_are_asked_for_at_once_so_that_an_autoscaler_starts_their_machines_together(
    cluster: Cluster, open_journal: Callable[..., Journal], cube: Space, tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=1, object_store_memory=MEMORY, resources={"single": 1})
    path = tmp_path / "all are asked for"

    def trial(genome: Genome, report: Report) -> TrialOutcome:
        end = time.monotonic() + 100
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.05)
        return TrialOutcome(values={"cost": float(path.exists()), "gain": 0.0})

    search = EngineSettings(address=cluster.address, worker_resources={"single": 1.0}, trials=4, workers=4)
    with joined(search, tmp_path), open_journal() as journal:
        work = Work(target=trial, objectives=("cost", "gain"))
        run(cube, work, settings=search, journal=journal, observers=[Beginning(path, 4)])
        assert [entry.values["cost"] for entry in journal.records()] == [1.0] * 4


def test_a_slot_that_dies_comes_back(cluster: Cluster, tmp_path: Path) -> None:
    with joined(EngineSettings(address=cluster.address, latency_resource=SLOT, cpus_per_worker=1), tmp_path):
        path, bench = tmp_path / "model.onnx", SlotBench(SLOT, limit_s=60.0)
        path.write_bytes(calibration_model())
        first = bench.measure(path, Backend.AUTO, FAST, bench.calibrate())
        slot = ray.get_actor(slot_name(SLOT), namespace=NAMESPACE)
        before = ray.get(slot.__ray_call__.remote(lambda _: os.getpid()))
        os.kill(before, signal.SIGKILL)  # all machines of this cluster are this one
        second = bench.measure(path, Backend.AUTO, FAST, bench.calibrate())
        assert ray.get(slot.__ray_call__.remote(lambda _: os.getpid())) != before
    assert (first.device, first.runtime) == (second.device, second.runtime)
    assert min(first.latency_ms, second.latency_ms) > 0


def test_a_slot_whose_measurement_hangs_comes_back(cluster: Cluster, tmp_path: Path) -> None:
    endless = LatencySettings(runs=10**9, min_runs=10**9, warmup=1, seconds=1e9)
    with joined(EngineSettings(address=cluster.address, latency_resource=SLOT), tmp_path):
        path = tmp_path / "model.onnx"
        path.write_bytes(calibration_model())
        with pytest.raises(TrialError, match=r"ended the measuring slot of latency:test 3 times; one measurement may take 3 s"):
            SlotBench(SLOT, limit_s=3.0).measure(path, Backend.ONNXRUNTIME, endless, None)
        assert SlotBench(SLOT, limit_s=60.0).measure(path, Backend.ONNXRUNTIME, FAST, None).latency_ms > 0


def test_a_slot_that_stays_away_stops_the_search_and_the_genome_is_owed(
    cluster: Cluster, open_journal: Callable[..., Journal], cube: Space, tmp_path: Path
) -> None:
    machine = cluster.add_node(num_cpus=1, object_store_memory=MEMORY, resources={"latency:gone": 1})

    def trial(genome: Genome, report: Report) -> TrialOutcome:
        path = Path("model.onnx")
        path.write_bytes(b"")
        SlotBench("latency:gone", limit_s=0.5).measure(path, Backend.ONNXRUNTIME, FAST, None)
        raise AssertionError("nobody is there to answer")

    search = EngineSettings(address=cluster.address, latency_resource="latency:gone", trials=2, workers=1)
    with joined(search, tmp_path), open_journal() as journal:
        cluster.remove_node(machine, allow_graceful=False)
        with pytest.raises(StoreError, match=r"trial \d could not be run here: .*slot of latency:gone .*--resume"):
            run(cube, Work(target=trial, objectives=("cost", "gain")), settings=search, journal=journal)
        records = journal.records()
    assert {entry.fate for entry in records} == {Fate.INTERRUPTED}  # twice, if Ray first placed it on the machine that went
    assert len({entry.key for entry in records}) == 1
    assert records[-1].again


def test_a_slot_that_other_code_left_is_started_anew(cluster: Cluster, tmp_path: Path) -> None:
    class Left:
        def version(self) -> str:
            return "of another search"

    search = EngineSettings(address=cluster.address, latency_resource=SLOT)
    with joined(search, tmp_path):
        ray.kill(ray.get_actor(slot_name(SLOT), namespace=NAMESPACE))
        name = {"name": slot_name(SLOT), "namespace": NAMESPACE, "lifetime": "detached", "resources": {SLOT: 1}, "num_cpus": 0}
        left = None
        while left is None:
            with suppress(ValueError):  # the one before keeps its name for a moment
                left = ray.remote(Left).options(**name).remote()  # type: ignore[call-overload]  # options by name
        assert ray.get(left.version.remote(), timeout=60.0) == "of another search"
        open_slot(SLOT)
        assert ray.get(ray.get_actor(slot_name(SLOT), namespace=NAMESPACE).version.remote(), timeout=60.0) == slot_version()


def test_what_the_cluster_does_not_have_is_told_at_once(cluster: Cluster, tmp_path: Path) -> None:
    with joined(EngineSettings(address=cluster.address), tmp_path):
        with pytest.raises(BackendError, match=r"no machine of the Ray cluster has CPU 64; there is .*CPU 1"):
            await_room({"CPU": 64.0}, latency=None, timeout_s=0.0)
        with pytest.raises(BackendError, match=r"has latency:h200 1; there is .*latency:test 1"):
            await_room({"CPU": 1.0}, latency="latency:h200", timeout_s=0.0)
        with pytest.raises(BackendError, match=r"latency:h200: no machine .*there is latency:test.*ray start"):
            open_slot("latency:h200")


def test_an_autoscaler_is_asked_for_room_until_there_is_some(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[dict[str, float]]] = []

    def request(*, bundles: list[dict[str, float]]) -> None:
        if bundles and not asked:
            cluster.add_node(num_cpus=1, object_store_memory=MEMORY, resources={"asked": 1})
        asked.append(bundles)

    monkeypatch.setattr("ray.autoscaler.sdk.request_resources", request)
    with joined(EngineSettings(address=cluster.address), tmp_path):
        await_room({"CPU": 1.0}, latency=SLOT, timeout_s=0.0)
        assert asked == []
        await_room({"CPU": 1.0, "asked": 1.0}, latency=SLOT, timeout_s=120.0)
    assert asked[0] == [{"CPU": 1.0, "asked": 1.0}, {SLOT: 1.0}]
    assert asked[-1] == []  # Ray would keep the machine up for ever


@contextmanager
def machine_without(folder: Path, cluster: Cluster, resource: str) -> Iterator[None]:
    """A raylet that has another, empty disk where a folder is, as a machine that does not mount it."""
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"needs the right to make a mount namespace: {probe.stderr.decode().strip()}")
    start = f"{sys.executable} -m ray.scripts.scripts start --address={cluster.address} --num-cpus=1 --block"
    start += f" --object-store-memory={MEMORY} --resources='{{\"{resource}\": 1}}' --disable-usage-stats"
    command = ["unshare", "-m", "sh", "-c", f"mount -t tmpfs tmpfs {folder} && exec {start}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as raylet:
        try:
            yield
        finally:
            os.killpg(raylet.pid, signal.SIGKILL)
            raylet.wait()


def test_a_machine_without_the_workspace_is_named_before_anything_is_computed(cluster: Cluster, tmp_path: Path) -> None:
    with machine_without(tmp_path, cluster, "blind"), joined(EngineSettings(address=cluster.address), tmp_path.parent):
        await_room({"blind": 1.0}, latency=None, timeout_s=60.0)
        with pytest.raises(StoreError, match=r"not usable on every machine .*: not there.*mount at the same path"):
            ensure_shared(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_needs_nothing_of_the_driver_but_the_workspace(
    cluster: Cluster, open_journal: Callable[..., Journal], cube: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scratch := tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))  # where the driver keeps what Tune writes

    def trial(genome: Genome, report: Report) -> TrialOutcome:
        report({"loss": 1.0})
        return TrialOutcome(values={"cost": float(genome["x0"]), "gain": 0.0}, details={"sees": len(list(scratch.iterdir()))})

    search = EngineSettings(address=cluster.address, worker_resources={"far": 1.0}, trials=2, workers=1, cluster_wait_s=60.0)
    with machine_without(scratch, cluster, "far"), open_journal() as journal, joined(search, tmp_path):
        result = run(cube, Work(target=trial, objectives=("cost", "gain")), settings=search, journal=journal)
        records = journal.records()
    assert result.completed == 2, records[-1].reason
    assert [entry.details["sees"] for entry in records] == [0, 0]


def test_a_cluster_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    gone = EngineSettings(address="127.0.0.1:1")
    with pytest.raises(BackendError, match=r"the Ray cluster at 127\.0\.0\.1:1 cannot be joined"), joined(gone, tmp_path):
        pass


def test_a_slot_without_a_cluster_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"search\.latency_resource is latency:h200.*--address"):
        EngineSettings(latency_resource="latency:h200")
