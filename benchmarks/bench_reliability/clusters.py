"""Faults of clusters, all of whose machines are this one: a Slurm job that is warned, and machines that come and go."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from bench_reliability.driver import BrokenPromiseError, must, start
from paretolens.mlflow.ui import free_port
from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate

__all__ = ["scaling", "slurm"]

ROOT = Path(__file__).parents[2]


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
    logs = folder / "head.log", folder / "driver.log"
    with logs[0].open("w") as said:
        head += [f"--autoscaling-config={folder}/cloud.json"]
        cluster = subprocess.Popen(head, env=around, stdout=said, stderr=subprocess.STDOUT)
    try:
        must(_becomes(lambda: _machines(folder) == 1, 90), f"the head starts: {_end_of(logs[0])}")
        uri = f"sqlite:///{folder}/mlflow.db"
        driver = start(folder, uri, trials=trials, seconds=4.0, address=address, around=around, log=logs[1])
        most, end = 0, time.monotonic() + 300
        while driver.poll() is None and time.monotonic() < end:
            most = max(most, _machines(folder) - 1)
            time.sleep(0.5)
        must(driver.poll() is not None, f"the search ends within 300 s: {_end_of(logs[1])}")
        must(f"result {trials}" in logs[1].read_text(errors="replace"), f"the search ends well: {_end_of(logs[1])}")
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
    return sum(process.info["name"] == "raylet" for process in _of(folder))  # asked for a name now, one that just ended raises


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-800:]


def _becomes(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (now := condition()) and time.monotonic() < end:
        time.sleep(0.5)
    return now


def _of(folder: Path) -> list[psutil.Process]:
    """This part's processes that still run."""
    every = psutil.process_iter(["environ", "name"])
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
