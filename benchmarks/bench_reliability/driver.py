"""A search in a process of its own, and what must hold of it afterwards."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from paretolens.mlflow.front import front
from paretolens.mlflow.pareto import non_dominated
from paretolens.mlflow.records import read_study
from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate, TrialRecord

__all__ = ["BrokenPromiseError", "check", "must", "start", "until"]

AXES = {"cost": "min", "gain": "max"}

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
    def trial_begun(self, number): pass
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
    around: Mapping[str, str] | None = None, log: Path | None = None,
) -> subprocess.Popen[str]:  # fmt: skip
    """A driver in a process of its own, whose output goes to a pipe that is to be read, or into a file."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", DRIVER, str(folder), uri, str(trials), str(seconds), str(hunger), address]
    env = {**os.environ, **(around or {})}
    with log.open("w") if log else nullcontext(subprocess.PIPE) as said:
        return subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, text=True, cwd=folder, env=env)


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
