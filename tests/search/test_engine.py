"""Searches on a real Ray: exact budgets, faults of every kind, early stopping."""

import ctypes
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from paretolens.errors import StoreError
from paretolens.exporters.files import write_atomic
from paretolens.mlflow.front import front
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.search.engine import EngineSettings, Scheduler, run
from paretolens.search.epochs import EpochLog, milestones
from paretolens.search.halving import HalvingSettings
from paretolens.search.journal import Journal
from paretolens.search.observer import Epoch, TrialStart
from paretolens.search.outcome import Fate, Report, TrialOutcome, TrialRecord
from paretolens.search.recorder import Recorder
from paretolens.search.runtime import ray_runtime
from paretolens.search.wiring import make_dispatcher
from paretolens.search.worker import Work
from paretolens.spaces.knobs import Genome, Knob, Space, Stage

NAMES = ("cost", "gain")
FAULTS = ("none", "nan", "inf", "raise", "exit", "die", "hang", "spin", "text", "nothing", "memory", "missing")
ROOT = Path(__file__).parents[2]
LIMIT_S = 20
"""Of a trial that hangs; sound ones take no time at all, but a busy machine may stand still for seconds, and a worker
that dies or runs out of memory must be noticed within it."""
Open = Callable[..., Journal]


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[Path]:
    ray.shutdown()  # of the one that studies of other tests share: its workers never heard of these GPUs
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "0,1")  # as if there were two GPUs; no trial takes one
        with ray_runtime(address=None, cpus=2, gpus=0, threads=1) as scratch:
            yield scratch


class Log:
    def __init__(self) -> None:
        self.started: list[int] = []
        self.epochs: list[Epoch] = []
        self.ended: list[TrialRecord] = []

    def trial_started(self, start: TrialStart) -> None:
        self.started.append(start.number)

    def trial_begun(self, number: int) -> None:
        """Nothing."""

    def trial_reported(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)

    def trial_ended(self, entry: TrialRecord) -> None:
        self.ended.append(entry)


def plain(genome: Genome, report: Report) -> TrialOutcome:
    """Two epochs; says where it ran."""
    for epoch in range(2):
        report({"loss": 1.0 / (epoch + 1)})
    details = {
        "pid": os.getpid(),
        "cwd": str(Path.cwd()),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "mlflow": "mlflow" in sys.modules,
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }
    return TrialOutcome(values={"cost": float(genome["x0"]), "gain": float(genome["x1"])}, details=details)


def broken(genome: Genome, report: Report) -> TrialOutcome:
    """Works for no genome."""
    raise ValueError("no such layer")


def faulty(genome: Genome, report: Report) -> TrialOutcome | None:
    """Breaks in the way that the genome names."""
    value: object = 1.0
    match genome["fault"] if genome["n"] == 0 else "none":
        case "nan":
            value = float("nan")
        case "inf":
            value = float("-inf")
        case "raise":
            raise ValueError("no such\nlayer")
        case "exit":
            sys.exit(3)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(600)
        case "spin":
            ctypes.PyDLL(None).sleep(600)  # as a library that never yields to Python: no timer of the process can fire
        case "text":
            value = "low"
        case "nothing":
            return None
        case "memory":
            value = float(len(bytearray(2**31)))
        case "missing":
            return TrialOutcome(values={"cost": 1.0})
    return TrialOutcome(values={"cost": value, "gain": 0.0})  # type: ignore[dict-item]


REASONS = {
    "nan": "an objective is not finite: cost = nan",
    "inf": "an objective is not finite: cost = -inf",
    "raise": "ValueError: no such layer",
    "exit": "SystemExit: 3",
    "die": "its worker process died: The actor died unexpectedly",
    "hang": f"it took longer than the limit of {LIMIT_S} s per trial",
    "spin": f"it took longer than the limit of {LIMIT_S} s per trial",
    "text": "cost is the text 'low'; a number was expected",
    "nothing": "the trial returned NoneType; a TrialOutcome was expected",
    "memory": "out of memory: it needed more than the 256 MiB that a trial may take",
    "missing": "the trial returned no value for gain; every objective needs one",
}


def test_a_search_holds_exactly_its_budget_and_tells_every_event_once(open_journal: Open, cube: Space) -> None:
    log = Log()
    first = [{f"x{index}": 0.25 for index in range(5)}]
    with open_journal() as journal:
        settings, began = EngineSettings(trials=8, workers=2), time.monotonic()
        result = run(cube, Work(target=plain, objectives=NAMES), settings=settings, journal=journal, observers=[log], first=first)
        records, seconds = journal.records(), time.monotonic() - began
    assert (result.completed, result.interrupted, result.reason) == (8, False, "")
    assert [entry.fate for entry in records] == [Fate.EVALUATED] * 8
    assert len({entry.key for entry in records}) == 8
    assert dict(records[0].genome) == first[0]
    assert log.started == list(range(8))
    assert sorted(entry.number for entry in log.ended) == list(range(8))
    assert Counter((epoch.number, epoch.step) for epoch in log.epochs) == Counter((n, s) for n in range(8) for s in (1, 2))
    assert {epoch.metrics["loss"] for epoch in log.epochs} == {1.0, 0.5}
    assert all(entry.values == {"cost": entry.genome["x0"], "gain": entry.genome["x1"]} for entry in records)
    assert len({entry.details["pid"] for entry in records}) <= 3  # workers are reused
    assert {entry.details["threads"] for entry in records} == {"1"}
    assert not any(entry.details["mlflow"] for entry in records)
    assert {entry.details["gpus"] for entry in records} == {""}  # none is seen by a worker that takes none
    assert not any(Path(entry.details["cwd"]).is_relative_to(ROOT) for entry in records)
    assert all(0 < entry.seconds < seconds for entry in records)
    for trials in (8, 10):  # what is finished starts nothing; a larger budget goes on
        with open_journal() as journal:
            result = run(cube, Work(target=plain, objectives=NAMES), settings=EngineSettings(trials=trials), journal=journal)
            assert result.completed == len(journal.records()) == trials


def test_every_fault_is_a_failed_trial_with_its_reason_and_the_search_goes_on(open_journal: Open) -> None:
    fault = Knob(name="fault", stage=Stage.STUDENT, doc="how it breaks", default="none", choices=FAULTS, allowed=FAULTS)
    number = Knob(name="n", stage=Stage.STUDENT, doc="breaks at 0", default=0, choices=(0, 1))
    settings = EngineSettings(trials=100, failures=50, trial_timeout_s=LIMIT_S, trial_memory_bytes=256 * 2**20)
    with open_journal() as journal:
        space = Space(knobs=(fault, number))
        result = run(space, Work(target=faulty, objectives=NAMES), settings=settings, journal=journal)  # type: ignore[arg-type]
        records = journal.records()
    assert result.reason == "every genome of the space has been tried; 13 could be evaluated"
    assert result.completed == 13
    failed = [entry for entry in records if entry.fate is Fate.FAILED]
    assert {entry.genome["fault"] for entry in failed} == set(REASONS)
    for entry in failed:
        assert entry.reason.startswith(REASONS[str(entry.genome["fault"])]), entry.reason
    attempts = Counter(entry.genome["fault"] for entry in failed)
    assert attempts.pop("die") == 2  # a dead worker is tried once more, everything else would only repeat itself
    assert set(attempts.values()) == {1}


@pytest.mark.slow
def test_a_trial_function_that_always_fails_ends_the_search_with_the_reason(open_journal: Open, cube: Space) -> None:
    settings = EngineSettings(trials=20, failures=3, workers=1)
    with open_journal() as journal:
        result = run(cube, Work(target=broken, objectives=NAMES), settings=settings, journal=journal)
    assert result.completed == 0
    assert result.reason.startswith("3 trials failed, the last one because: ValueError: no such layer")


class Late(Log):
    """Lets the time be up, and what runs end, once a second trial has been handed out."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.now, self.path = 0.0, path

    def trial_started(self, start: TrialStart) -> None:
        super().trial_started(start)
        if start.number == 1:
            self.now = 1000.0
            self.path.touch()


def test_a_trial_that_waits_for_a_place_does_not_begin_after_the_time_limit(
    open_journal: Open, cube: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Late(tmp_path / "late")
    monkeypatch.setattr("paretolens.search.engine.make_dispatcher", partial(make_dispatcher, clock=lambda: late.now))

    def waiting(genome: Genome, report: Report) -> TrialOutcome:
        while not (tmp_path / "late").exists():
            time.sleep(0.02)
        return plain(genome, report)

    settings = EngineSettings(trials=4, workers=2, cpus_per_worker=2, time_limit_s=1000.0)  # there are two cores
    with open_journal() as journal:
        result = run(cube, Work(target=waiting, objectives=NAMES), settings=settings, journal=journal, observers=[late])
        records = journal.records()
    assert late.started == [0, 1]
    assert [(entry.fate, entry.again) for entry in records] == [(Fate.EVALUATED, False), (Fate.INTERRUPTED, True)]
    assert (result.completed, result.as_asked) == (1, True)
    assert records[1].reason == result.reason == "the time limit of 1000 s was reached"


@pytest.mark.slow
def test_a_trial_function_that_cannot_be_set_up_stops_the_search_and_blames_no_genome(open_journal: Open, cube: Space) -> None:
    settings = EngineSettings(trials=20, failures=3, workers=1)
    with open_journal() as journal:
        with pytest.raises(StoreError, match=r"trial function no_such_module:make: cannot be imported .* go on with --resume"):
            run(cube, Work(target="no_such_module:make", objectives=NAMES), settings=settings, journal=journal)
        assert not [entry for entry in journal.records() if entry.fate is Fate.FAILED]


@pytest.mark.slow
def test_a_journal_that_cannot_be_written_stops_the_search_with_one_line(open_journal: Open, cube: Space, tmp_path: Path) -> None:
    with open_journal() as journal:
        path = tmp_path / "study" / "journal.log"

        class Removing(Log):
            def trial_ended(self, entry: TrialRecord) -> None:
                path.rename(path.with_suffix(".gone"))
                path.mkdir()

        settings, work = EngineSettings(trials=5), Work(target=plain, objectives=NAMES)
        with pytest.raises(StoreError, match="cannot be used"):
            run(cube, work, settings=settings, journal=journal, observers=[Removing()])


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        (2**18, "trial 2 could not be run here: file .*No space left on device.*--resume"),
        (0, "No space left on device"),  # the journal's last block may still take a line
    ],
)
def test_a_disk_that_fills_up_stops_the_search_with_one_line_and_resume_carries_on(
    open_journal: Open, cube: Space, tmp_path: Path, small_disk: Callable[[str], Path], case: tuple[int, str]
) -> None:
    """Of the trials' files, and of the journal."""
    (room, line), disk = case, small_disk("560m")  # the engine wants 512 MiB at its start
    (tmp_path / "study").symlink_to(disk, target_is_directory=True)

    def writing(genome: Genome, report: Report) -> TrialOutcome:
        write_atomic(disk / f"{genome['x0']}", b"0" * 2**20)
        return plain(genome, report)

    class Filling(Log):
        def trial_ended(self, entry: TrialRecord) -> None:
            if entry.number == 1:
                found = os.statvfs(disk)
                with (disk / "ballast").open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, found.f_bavail * found.f_frsize - room)

    work, settings = Work(target=writing, objectives=NAMES), EngineSettings(trials=5, workers=1)
    with open_journal() as journal, pytest.raises(StoreError, match=line):
        run(cube, work, settings=settings, journal=journal, observers=[Filling()])
    (disk / "ballast").unlink()
    with open_journal() as journal:
        assert run(cube, work, settings=settings, journal=journal).completed == 5
        fates = Counter(entry.fate for entry in journal.records())
        assert fates[Fate.EVALUATED] == 5
        assert fates[Fate.INTERRUPTED] == 1 or not room
        assert set(fates) <= {Fate.EVALUATED, Fate.INTERRUPTED}
        assert len({entry.key for entry in journal.records()}) == 5


class StopHalf(FIFOScheduler):
    """Stops every other trial at its first report."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if "report/loss" not in result:
            return str(FIFOScheduler.CONTINUE)
        if trial.trial_id not in self.seen:
            self.seen.append(trial.trial_id)
        stop = result["step"] == 1 and self.seen.index(trial.trial_id) % 2 == 1
        return str(FIFOScheduler.STOP if stop else FIFOScheduler.CONTINUE)


def test_what_a_scheduler_stops_is_recorded_so_and_its_worker_goes_on(open_journal: Open, cube: Space) -> None:
    with open_journal() as journal:
        work, settings = Work(target=plain, objectives=NAMES), EngineSettings(trials=8, workers=1)
        result = run(cube, work, settings=settings, journal=journal, scheduler=StopHalf())
        fates = [entry.fate for entry in journal.records()]
        assert result.completed == 8
    assert fates == [Fate.EVALUATED, Fate.EARLY_STOPPED] * 4


LADDER = (0.5, 0.4, 0.3, 0.9, 0.2, 0.8)
"""Error after the first epoch, by trial."""


def laddered(genome: Genome, report: Report) -> TrialOutcome:
    """Reports what `LADDER` says, and objectives beside it that would beat every other trial's."""
    number = int(genome["n"])
    error = LADDER[number % len(LADDER)]
    for epoch in (1, 2):
        report({"progress_epoch": epoch, "progress_error": error, "cost": -1.0, "gain": 9.0})
        time.sleep(0.05)  # Tune takes a verdict at a trial's next report
    Path("model.onnx").write_bytes(b"a student")
    return TrialOutcome(values={"cost": error, "gain": 1.0 - error}, details={"folder": str(Path.cwd())})


def test_early_stopping_ends_the_poor_never_fronts_them_and_goes_on_after_a_restart(
    open_journal: Open, tmp_path: Path, new_store: Callable[[Path], str]
) -> None:
    knob = Knob(name="n", stage=Stage.STUDENT, doc="which trial", default=0, choices=tuple(range(12)))
    space, work = Space(knobs=(knob,)), Work(target=laddered, objectives=NAMES)
    uri, folder = new_store(tmp_path / "mlflow.db"), tmp_path / "study"
    halving = HalvingSettings(reduction=2, grace_epochs=1)
    for trials in (6, 12):  # a second session takes the rungs of the first up
        settings = EngineSettings(trials=trials, workers=1, scheduler=Scheduler.HALVING, halving=halving)
        with open_journal() as journal, MlflowTracker(tracking_uri=uri, spool=tmp_path / "spool.jsonl") as tracker:
            tracker.start_study(StudyInfo(name="study", identity="1" * 32, configuration={}))
            seen = (Recorder(tracker, space), EpochLog(folder))
            first = [{"n": number} for number in range(12)]
            run(space, work, settings=settings, journal=journal, observers=seen, first=first, history=milestones(folder))
            tracker.finish_study(TrialState.COMPLETE)
            records = journal.records()
    stopped = {entry.genome["n"] for entry in records if entry.fate is Fate.EARLY_STOPPED}
    assert stopped == {3, 5, 6, 7, 9, 11}  # 6 and 7 would have gone on with rungs that start empty
    assert len(records) == 12
    found = front("study", {"cost": "min", "gain": "max"}, tracking_uri=uri)
    assert set(found.trials["trial"]) == {f"trial-{number:04d}" for number in range(12) if number not in stopped}
    assert set(found.excluded["why"]) == {"pruned"}
    assert found.members["cost"].tolist() == [0.2]
