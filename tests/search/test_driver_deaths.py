"""Drivers of a search that are signalled or killed, and what a resume makes of what they left."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray

from paretolens.errors import StoreError
from paretolens.search.engine import EngineSettings, run
from paretolens.search.journal import Journal, read_records
from paretolens.search.outcome import Fate, Report, TrialOutcome, TrialRecord
from paretolens.search.runtime import ray_runtime
from paretolens.search.worker import Work
from paretolens.spaces.knobs import Genome, Space

Open = Callable[..., Journal]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[Path]:
    ray.shutdown()  # of the one that studies of other tests share
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with ray_runtime(address=None, cpus=2, gpus=0, threads=1) as scratch:
        yield scratch


def plain(genome: Genome, report: Report) -> TrialOutcome:
    """Two values of the genome."""
    return TrialOutcome(values={"cost": float(genome["x0"]), "gain": float(genome["x1"])})


DRIVER = """
import sys, time
from pathlib import Path
from paretolens.search.engine import EngineSettings, run
from paretolens.search.journal import Journal
from paretolens.search.outcome import Objective, TrialOutcome
from paretolens.search.worker import Work
from paretolens.spaces.knobs import Knob, Space, Stage

def trial(genome, report):
    time.sleep(0.3)
    return TrialOutcome(values={"cost": float(genome["x0"]), "gain": float(genome["x1"])})

class Show:
    def trial_started(self, start): print("started", start.number, flush=True)
    def trial_begun(self, number): pass
    def trial_reported(self, epoch): pass
    def trial_ended(self, entry): print("ended", entry.number, entry.fate, flush=True)

knobs = tuple(Knob(name=f"x{i}", stage=Stage.STUDENT, doc="", default=0.5, low=0.0, high=1.0) for i in range(5))
objectives = (Objective(name="cost", maximise=False), Objective(name="gain", maximise=True))
with Journal(Path(sys.argv[1]), objectives=objectives, fingerprint="abc") as journal:
    work = Work(target=trial, objectives=("cost", "gain"))
    result = run(Space(knobs=knobs), work, settings=EngineSettings(trials=400), journal=journal, observers=[Show()])
    print("result", result.interrupted, result.reason, flush=True)
"""


def driver(folder: Path, moment: str = "ended") -> subprocess.Popen[str]:
    """A search in a process of its own, at a moment in the middle of its trials."""
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=folder.parent)
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith(moment):
        assert line, "the driver ended early"
    return process


def resumed(open_journal: Open, cube: Space) -> tuple[int, list[TrialRecord]]:
    with open_journal() as journal:
        trials = sum(entry.fate is Fate.EVALUATED for entry in journal.records()) + 4
        run(cube, Work(target=plain, objectives=("cost", "gain")), settings=EngineSettings(trials=trials), journal=journal)
        return trials, journal.records()


def assert_exact(trials: int, records: list[TrialRecord]) -> None:
    evaluated = [entry for entry in records if entry.fate is Fate.EVALUATED]
    assert len(evaluated) == trials
    assert len({entry.key for entry in evaluated}) == trials
    interrupted = {entry.key for entry in records if entry.fate is Fate.INTERRUPTED}
    assert interrupted
    assert interrupted <= {entry.key for entry in evaluated}
    assert len(records) == trials + len([entry for entry in records if entry.fate is Fate.INTERRUPTED])


@pytest.mark.slow
def test_a_driver_that_is_signalled_or_killed_is_resumed_exactly(open_journal: Open, cube: Space, tmp_path: Path) -> None:
    """One study: two sessions that a signal ends cleanly, two that are killed, one that goes on with what they left."""
    study, signalled = tmp_path / "study", ("SIGTERM", "SIGUSR1")
    for name in signalled:
        process = driver(study)
        process.send_signal(getattr(signal, name))
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert f"result True stopped by {name}" in output
        assert all(entry.fate is not None for entry in read_records(study))
    assert len(read_records(study)) < 100  # of 400
    reasons = {entry.reason for entry in read_records(study) if entry.fate is Fate.INTERRUPTED}
    assert reasons == {f"stopped by {name}" for name in signalled}

    process = driver(study)
    with pytest.raises(StoreError, match=f"another driver is working on it .process {process.pid} on"):
        open_journal()
    family = [child for child in psutil.Process(process.pid).children(recursive=True) if "Agent" not in child.name()]
    process.kill()
    process.wait()
    again = driver(study, "started")
    time.sleep(0.1)
    again.kill()
    again.wait()
    assert None in [entry.fate for entry in read_records(study)]
    assert_exact(*resumed(open_journal, cube))
    _, alive = psutil.wait_procs(family, timeout=150)
    assert not alive  # Ray ends with its driver; its agents take up to a minute more
