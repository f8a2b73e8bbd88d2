"""Faults that take too long for the test suite, each really caused; what docs/reliability.md promises of them is checked.

    make reliability            (about twenty minutes on two busy cores; `python benchmarks/reliability.py kills` runs one)

kills    a driver is killed with SIGKILL at ten random moments, then left to finish
outage   the MLflow server is dead for a minute in one study, and for good in another, which is resumed when it is back
memory   Ray's own memory monitor kills trials
slurm    search/cluster/slurm.sh with stand-ins for srun and scontrol: USR1, queued again, resumed, with a measuring slot
scaling  Ray's own autoscaler, with its stand-in for a cloud: machines come for a search and go after it

Prints a Markdown table. Exit code 1 if a promise is broken.
"""

import argparse
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from paretolens.mlflow.front import front
from paretolens.mlflow.pareto import non_dominated
from paretolens.mlflow.records import read_study
from paretolens.mlflow.ui import free_port, server_command, server_environment, wait_until_up
from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate, TrialRecord

AXES = {"cost": "min", "gain": "max"}
ROOT = Path(__file__).parents[1]

DRIVER = """
import os, sys, time
from pathlib import Path
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.search.cluster.session import joined
from paretolens.search.engine import EngineSettings, run
from paretolens.search.journal import Journal
from paretolens.search.outcome import Objective, TrialOutcome
from paretolens.search.recorder import Recorder
from paretolens.search.worker import Work
from paretolens.spaces.knobs import Knob, Space, Stage

folder, uri, trials, seconds, hunger = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
address = sys.argv[6] or None
cluster = {"address": address, "workers": 3, "worker_resources": {"spot": 1.0}, "cluster_wait_s": 120}
settings = EngineSettings(trials=trials, **(cluster if address else {"workers": 2}))

def trial(genome, report):
    for epoch in range(2):
        time.sleep(seconds / 2)
        report({"loss": 1.0 / (epoch + 1)})
    eaten = folder / "eaten"
    if hunger and not eaten.exists():
        eaten.touch()
        held = bytearray(hunger)
        for start in range(0, hunger, 4096):
            held[start] = 1
        time.sleep(60)
    x, y = float(genome["x0"]), float(genome["x1"])
    return TrialOutcome(values={"cost": x, "gain": 1 - (1 - x) ** 2 + 0.2 * y}, details={"folder": str(folder / "none")})

class Show:
    def trial_started(self, start): print("started", start.number, flush=True)
    def trial_reported(self, epoch): print("reported", epoch.number, flush=True)
    def trial_ended(self, entry): print("ended", entry.number, entry.fate, flush=True)

space = Space(knobs=tuple(Knob(name=f"x{i}", stage=Stage.STUDENT, doc="", default=0.5, low=0.0, high=1.0) for i in range(3)))
objectives = (Objective(name="cost", maximise=False), Objective(name="gain", maximise=True))
with joined(settings, folder), Journal(folder / "study", objectives=objectives, fingerprint="abc") as journal, MlflowTracker(
    tracking_uri=uri, spool=folder / "spool.jsonl", close_timeout_s=20.0
) as tracker:
    tracker.start_study(StudyInfo(name="study", identity="one"))
    recorder = Recorder(tracker, space)
    recorder.catch_up(journal.records())
    work = Work(target=trial, objectives=("cost", "gain"))
    result = run(space, work, settings=settings, journal=journal, observers=[recorder, Show()])
    tracker.finish_study(TrialState.COMPLETE if not result.reason else TrialState.FAILED, reason=result.reason)
    print("result", result.completed, result.reason, flush=True)
"""


class BrokenPromiseError(AssertionError):
    """A promise that did not hold."""


def must(holds: object, promise: str) -> None:
    """Stop where a promise is broken."""
    if not holds:
        raise BrokenPromiseError(promise)


def start(
    folder: Path, uri: str, *, trials: int, seconds: float, hunger: int = 0, address: str = "",
    around: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:  # fmt: skip
    """A driver in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", DRIVER, str(folder), uri, str(trials), str(seconds), str(hunger), address]
    env = {**os.environ, **(around or {})}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=env)


def until(process: subprocess.Popen[str], word: str, times: int = 1) -> bool:
    """Read a driver's lines until a word came so often; False if it ended first."""
    assert process.stdout is not None
    for line in process.stdout:
        times -= line.startswith(word)
        if times <= 0:
            return True
    return False


def check(folder: Path, uri: str, trials: int) -> tuple[list[TrialRecord], int]:
    """Exactly N complete trials, none lost, none twice, MLflow and its front as the journal says; returns the front's size."""
    records = read_records(folder / "study")
    evaluated = [entry for entry in records if entry.fate is Fate.EVALUATED]
    must(len(evaluated) == trials, f"{trials} evaluated trials, found {len(evaluated)}")
    must(len({entry.key for entry in evaluated}) == trials, "no genome twice")
    owed = {entry.key for entry in records if entry.fate is Fate.INTERRUPTED}
    must(owed <= {entry.key for entry in evaluated}, "what was cut off was evaluated later")
    must(all(entry.fate in (Fate.EVALUATED, Fate.INTERRUPTED) for entry in records), "no trial failed or stayed open")
    stored = read_study("study", tracking_uri=uri).trials
    states = dict(zip(stored["trial"], stored["state"], strict=True))
    wanted = {f"trial-{entry.number:04d}": "complete" if entry.fate is Fate.EVALUATED else "killed" for entry in records}
    must(
        states == wanted, f"MLflow has every trial once and in its state: {Counter(states.values())}, {Counter(wanted.values())}"
    )
    points = np.array([[entry.values["cost"], -entry.values["gain"]] for entry in evaluated])
    ours = {f"trial-{entry.number:04d}" for entry, keep in zip(evaluated, non_dominated(points), strict=True) if keep}
    theirs = set(front("study", objectives=AXES, tracking_uri=uri).members["trial"])
    must(ours == theirs, f"the front pulled from MLflow is the journal's: {sorted(theirs)}, {sorted(ours)}")
    return records, len(ours)


def kills(folder: Path) -> str:
    """Ten kills at random moments."""
    uri, moments, trials, hit = f"sqlite:///{folder}/mlflow.db", random.Random(11), 40, 0
    for _ in range(10):
        driver = start(folder, uri, trials=trials, seconds=0.6)
        word, times = moments.choice(
            [("started", 1), ("started", 3), ("reported", 2), ("reported", 5), ("ended", 1), ("ended", 3)]
        )
        hit += until(driver, word, times)
        time.sleep(moments.uniform(0.0, 0.3))
        family = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
        driver.kill()
        driver.communicate()
        psutil.wait_procs(family, timeout=30)
    must(hit >= 8, f"the kills hit running searches, {hit} of 10 did")
    last = start(folder, uri, trials=trials, seconds=0.6)
    said, _ = last.communicate(timeout=300)
    must(f"result {trials}" in said, f"the last driver finishes: {said[-500:]}")
    records, members = check(folder, uri, trials)
    again = sum(entry.fate is Fate.INTERRUPTED for entry in records)
    return f"{trials} of {trials} complete, {again} cut off and done again, front of {members} the same in journal and MLflow"


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """A tracking server with its workers; killed at the end."""
    uri = f"sqlite:///{folder}/server.db"
    command = server_command(uri, host="127.0.0.1", port=port)
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=folder, env=server_environment(uri), start_new_session=True, stdout=quiet, stderr=quiet
    )
    try:
        wait_until_up(process, f"http://127.0.0.1:{port}")
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def outage(folder: Path) -> str:
    """A minute without the server; then without it for good."""
    port, trials = free_port(), 40
    uri = f"http://127.0.0.1:{port}"
    with server(folder, port):
        driver = start(folder / "minute", uri, trials=trials, seconds=4.0)
        must(until(driver, "ended", 2), "two trials before the outage")
    began = time.monotonic()
    must(until(driver, "ended", 5), "trials go on without the server")
    time.sleep(max(0.0, 60.0 - (time.monotonic() - began)))
    with server(folder, port):
        said, _ = driver.communicate(timeout=400)
        must(f"result {trials}" in said, f"the search ends: {said[-500:]}")
        check(folder / "minute", uri, trials)
        must(not (folder / "minute" / "spool.jsonl").exists(), "nothing is left to send")
    return _for_good(folder, port)


def _for_good(folder: Path, port: int) -> str:
    uri, trials, place = f"http://127.0.0.1:{port}", 8, folder / "good"
    (folder / "server.db").unlink(missing_ok=True)
    with server(folder, port):
        driver = start(place, uri, trials=trials, seconds=1.0)
        must(until(driver, "ended", 2), "two trials before the end of the server")
    said, _ = driver.communicate(timeout=400)
    must(f"result {trials}" in said, f"the search ends without the server: {said[-500:]}")
    waiting = len((place / "spool.jsonl").read_text().splitlines())
    must(waiting > 0, "what could not be sent waits on disk")
    refused, _ = start(place, uri, trials=trials, seconds=1.0).communicate(timeout=120)
    must("no answer" in refused, "a resume without the server says so")
    with server(folder, port):
        start(place, uri, trials=trials, seconds=1.0).communicate(timeout=120)
        check(place, uri, trials)
    return (
        f"40 of 40 through a minute without it; then {waiting} records kept on disk without it for good, all replayed on resume"
    )


def memory(folder: Path) -> str:
    """Ray's monitor kills what makes the machine run out of memory: here, what makes it use 3 GB more than now."""
    uri, trials, hunger = f"sqlite:///{folder}/mlflow.db", 6, 6 * 2**30
    held = psutil.virtual_memory()
    limit = (held.total - held.available + 3 * 2**30) / held.total
    must(limit < 0.9, "6 GB of free memory for this check")
    around = {"RAY_memory_usage_threshold": f"{limit:.3f}", "RAY_memory_monitor_refresh_ms": "100"}
    said, _ = start(folder, uri, trials=trials, seconds=0.5, hunger=hunger, around=around).communicate(timeout=400)
    must(f"result {trials}" in said, f"the search ends: {said[-800:]}")
    records = read_records(folder / "study")
    fates = Counter(str(entry.fate) for entry in records)
    must(fates[str(Fate.EVALUATED)] == trials and len(records) > trials, f"a trial was killed and tried again: {dict(fates)}")
    reasons = {entry.reason[:90] for entry in records if entry.fate is not Fate.EVALUATED}
    return f"{trials} of {trials} complete after {', '.join(sorted(reasons))!r}"


def slurm(folder: Path) -> str:
    """The script, its machines all this one."""
    tools, workspace = folder / "bin", folder / "runs"
    tools.mkdir()
    for name, text in STAND_INS.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}")
        (tools / name).chmod(0o755)
    (tools / "paretolens").write_text(f'#!/bin/bash\nexec {sys.executable} -m paretolens.search.cli "$@"\n')
    (tools / "paretolens").chmod(0o755)
    (folder / "tiny.yaml").write_text(TINY)
    around = {
        **os.environ, "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}", "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node[0-2]", "SLURM_CPUS_PER_TASK": "1", "GPUS_PER_NODE": "0", "LATENCY_RESOURCE": "latency:cpu",
        "PARETOLENS_WORKSPACE": str(workspace), "RAY_PORT": str(free_port()), "REQUEUED": str(folder / "requeued"),
        MARK: str(folder),
    }  # fmt: skip
    script = [
        "bash",
        str(ROOT / "search/cluster/slurm.sh"),
        "--name",
        "fleet",
        "--trials",
        "4",
        "--config",
        str(folder / "tiny.yaml"),
    ]
    first = subprocess.Popen(script, env=around, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    study = workspace / "studies" / "fleet"
    _wait(lambda: (study / "journal.log").exists() and _evaluated(study) >= 1, first)
    first.send_signal(signal.SIGUSR1)
    said, _ = first.communicate(timeout=200)
    must((folder / "requeued").exists(), f"the job is queued again: {said[-800:]}")
    before = _evaluated(study)
    must(before < 4, "the signal came in the middle")
    second = subprocess.run(script, env=around, capture_output=True, text=True, timeout=500, check=False)
    must(second.returncode == 0, f"the second job ends well: {second.stdout[-1500:]} {second.stderr[-3000:]}")
    records = [entry for entry in read_records(study) if entry.fate is Fate.EVALUATED]
    must(len(records) == len({entry.key for entry in records}) == 4, "exactly the budget after the second job")
    must(_becomes(lambda: not _marked(folder), 20), f"nothing of the jobs stays: {_marked(folder)}")
    return f"{before} of 4 trials when USR1 came, queued again, 4 of 4 after the second job; timed in the slot of latency:cpu"


def scaling(folder: Path) -> str:
    """Three workers want three machines, which Ray's autoscaler starts on this one; a head stays alone afterwards."""
    address, trials = f"127.0.0.1:{free_port()}", 12
    around = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "RAY_FAKE_CLUSTER": "1", **HEAD,
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": f"{folder}/token", "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        MARK: str(folder),
    }  # fmt: skip
    (folder / "token").write_text(secrets.token_hex(32))
    (folder / "token").chmod(0o600)
    provider = {**CLOUD["provider"], "gcs_address": address}
    (folder / "cloud.json").write_text(json.dumps({**CLOUD, "provider": provider}))
    head = ["ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={address.rpartition(':')[2]}"]
    head += ["--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}/ray"]
    quiet = subprocess.DEVNULL
    cluster = subprocess.Popen([*head, f"--autoscaling-config={folder}/cloud.json"], env=around, stdout=quiet, stderr=quiet)
    try:
        must(_becomes(lambda: _machines(folder) == 1, 90), "the head starts")
        driver = start(folder, f"sqlite:///{folder}/mlflow.db", trials=trials, seconds=4.0, address=address, around=around)
        most, end = 0, time.monotonic() + 300
        while driver.poll() is None and time.monotonic() < end:
            most = max(most, _machines(folder) - 1)
            time.sleep(0.5)
        said, _ = driver.communicate(timeout=1)
        must(f"result {trials}" in said, f"the search ends: {said[-800:]}")
        must(most == 3, f"a machine for each worker, {most} came")
        must(_becomes(lambda: _machines(folder) == 1, 120), f"machines go after the search, {_machines(folder) - 1} stayed")
    finally:
        cluster.terminate()
        for process in _of(folder):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    return f"{trials} of {trials} complete on {most} machines that came for it and went after it"


def _machines(folder: Path) -> int:
    """Raylets of this part."""
    return sum(process.name() == "raylet" for process in _of(folder))


def _becomes(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (now := condition()) and time.monotonic() < end:
        time.sleep(0.5)
    return now


def _of(folder: Path) -> list[psutil.Process]:
    """This part's processes that still run."""
    every = psutil.process_iter(["environ"])
    return [process for process in every if (process.info["environ"] or {}).get(MARK) == str(folder)]


def _marked(folder: Path) -> list[str]:
    """Command lines of this part's processes that still run."""
    lines = []
    for process in _of(folder):
        with suppress(psutil.Error):  # it has ended meanwhile
            lines.append(" ".join(process.cmdline()))
    return lines


def _evaluated(study: Path) -> int:
    return sum(entry.fate is Fate.EVALUATED for entry in read_records(study))


def _wait(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 400
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise BrokenPromiseError(f"it gets to its first trial: {process.communicate()[0][-1500:]}")
        time.sleep(0.5)


STAND_INS = {
    "scontrol": 'if [ "$1" = show ]; then printf "node0\\nnode1\\nnode2\\n"; else touch "$REQUEUED"; fi\n',
    # Nodes that start on one machine in the same moment may take each other's ports: one every five seconds.
    "srun": 'for arg in "$@"; do case $arg in --nodelist=node*) place=${arg##*node} ;; esac; done\n'
    'while [[ "$1" == --* ]]; do shift; done\nif [ "$1" = hostname ]; then echo 127.0.0.1; exit; fi\n'
    'if [[ " $* " == *" --head "* ]]; then exec "$@" --node-ip-address=127.0.0.1; fi\nsleep $((place * 5))\nexec "$@"\n',
}
TINY = """
data: {train: 32, val: 24, test: 16, unseen: 8, clips_per_identity: 4}
model: {teacher: {backbone_width: 0.25, width: 32, depth: 1, heads: 4}}
teacher: {epochs: 1}
student:
  distill: {epochs: 1}
  repair: {epochs: 1}
  qat: {epochs: 1}
space: {width: [32], depth: [1], frames: [4], frame_size: [32, 48], backbone: [resnet18, mobilenet_v3_small]}
eps: {samples: 6, nodes: 4, resamples: 200, population: all}
latency: {runs: 12, min_runs: 5, seconds: 1}
first: []
search: {workers: 1}
"""
MARK = "PARETOLENS_BENCHMARK"
"""Tells this run's processes from those of other searches on the machine."""
HEAD = dict.fromkeys(("RAY_CLOUD_INSTANCE_ID", "RAY_OVERRIDE_NODE_ID_FOR_TESTING"), f"{'f' * 51}00000")
HEAD |= {"RAY_enable_autoscaler_v2": "1"}
CLOUD: dict[str, Any] = {
    "cluster_name": "stand-in",
    "provider": {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "launch_multiple": True,
        "head_node_id": HEAD["RAY_CLOUD_INSTANCE_ID"],
        "disable_node_updaters": True,
    },
    "max_workers": 3,
    "idle_timeout_minutes": 0.2,
    "upscaling_speed": 1.0,
    **{key: {} for key in ("auth", "docker", "file_mounts")},
    **{f"{kind}_commands": [] for kind in ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray")},
    **{key: [] for key in ("worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter")},
    "file_mounts_sync_continuously": False,
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "spot": {"resources": {"CPU": 1, "spot": 1, "object_store_memory": 80 * 2**20}, "node_config": {}, "max_workers": 3},
    },
}
PARTS: dict[str, Callable[[Path], str]] = {
    "kills": kills, "outage": outage, "memory": memory, "slurm": slurm, "scaling": scaling,
}  # fmt: skip


def _end_children() -> None:
    """A broken promise leaves drivers and their Rays behind."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=30)


def main() -> int:
    """Cause the faults and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all without")
    broken = 0
    print("| fault | seconds | result |\n|---|---|---|", flush=True)
    for name in parser.parse_args().parts or list(PARTS):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"paretolens-{name}-", ignore_cleanup_errors=True) as folder:
            try:
                result = PARTS[name](Path(folder))
            except (BrokenPromiseError, subprocess.TimeoutExpired) as error:
                result, broken = f"BROKEN: {error}", broken + 1
            finally:
                _end_children()
        print(f"| {name} | {time.monotonic() - began:.0f} | {result} |", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
