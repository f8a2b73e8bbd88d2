"""What the controller costs per trial: a search of trivial trials on a real Ray, its time and memory by hundreds of trials.

    python benchmarks/overhead.py [--trials 2000] [--workers 2] [--before 0] [--untracked]

16 knobs, three objectives, pre-selection, a report per trial, and every trial a run in MLflow on sqlite, as in a search. With
`--before N` the record holds N trials already, as after a resume: what grows with the record shows without waiting for it.
Prints Markdown for each hundred trials: seconds per trial on the clock and of the driver's CPU, how much of it the next genome
takes (asking the sampler), the driver's memory. Then the size of the record, and the first against the last stretch.
"""

import argparse
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.search.engine import EngineSettings, run
from paretolens.search.epochs import EpochLog
from paretolens.search.journal import Journal
from paretolens.search.live import clock
from paretolens.search.observer import Epoch, Observer, TrialStart
from paretolens.search.outcome import Fate, Objective, Report, TrialOutcome, TrialRecord, genome_key
from paretolens.search.proposer import Proposal, Proposer
from paretolens.search.recorder import Recorder
from paretolens.search.sampling import distributions
from paretolens.search.worker import Work
from paretolens.spaces.knobs import Genome, Knob, Space, Stage

OBJECTIVES = ("cost", "gain", "faith")
KNOBS = 16
STRETCH = 100
GOAL_S = 0.5


def trivial(genome: Genome, report: Report, folder: str) -> TrialOutcome:
    """One report, three numbers and the same small file every time."""
    x = [float(value) for value in genome.values()]
    report({"progress_epoch": 1.0, "progress_error": x[0]})
    rest = sum(x[2:]) / len(x[2:])
    values = {"cost": x[0] + rest, "gain": x[1] - rest, "faith": -((x[0] - x[1]) ** 2) - rest}
    return TrialOutcome(values=values, details={"folder": folder})


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Where the driver stood."""

    wall: float
    cpu: float
    asking: float
    memory_mb: float


class Meter:
    """Notes the clock, the driver's CPU time and its memory whenever another hundred trials have ended; prints each stretch."""

    def __init__(self, trials: int) -> None:
        self._process = psutil.Process()
        self._trials = trials
        self._asking = 0.0
        self.ended = 0
        self.marks: list[Mark] = []

    def watch(self) -> None:
        """Time every ask."""
        ask = Proposer.ask

        def timed(proposer: Proposer) -> Proposal | None:
            began = time.thread_time()
            try:
                return ask(proposer)
            finally:
                self._asking += time.thread_time() - began

        Proposer.ask = timed  # type: ignore[method-assign]  # the only seam that costs nothing where it is not measured

    def trial_started(self, start: TrialStart) -> None:
        """The first start begins the measurement."""
        if not self.marks:
            self.note()

    def trial_begun(self, number: int) -> None:
        """Nothing."""

    def trial_reported(self, epoch: Epoch) -> None:
        """Nothing."""

    def trial_ended(self, entry: TrialRecord) -> None:
        """Count."""
        self.ended += 1
        if self.ended % STRETCH == 0:
            self.note()
            left = (self.marks[-1].wall - self.marks[0].wall) / self.ended * (self._trials - self.ended)
            print(f"{self._line(self.marks[-2], self.marks[-1])}", flush=True)
            print(f"about {clock(left)} left", file=sys.stderr, flush=True)

    def note(self) -> None:
        """Keep how things stand."""
        cpu, memory = self._process.cpu_times(), self._process.memory_info().rss / 2**20
        self.marks.append(Mark(wall=time.monotonic(), cpu=cpu.user + cpu.system, asking=self._asking, memory_mb=memory))

    def _line(self, before: Mark, after: Mark) -> str:
        wall, cpu, asking = per_trial(before, after)
        span = f"{self.ended - STRETCH + 1}-{self.ended}"
        return f"| {span} | {wall:.3f} | {cpu:.3f} | {asking:.3f} | {after.memory_mb:.0f} |"


def per_trial(before: Mark, after: Mark) -> tuple[float, float, float]:
    """Seconds on the clock, of the driver's CPU, and of asking, of each trial of a stretch."""
    return tuple((getattr(after, name) - getattr(before, name)) / STRETCH for name in ("wall", "cpu", "asking"))  # type: ignore[return-value]


def fill(journal: Journal, space: Space, count: int) -> None:
    """Write down trials that never ran."""
    rng = random.Random(0)
    for index in range(count):
        genome, system = space.sample(rng), {"NSGAIISampler:generation": index // 50}
        number = journal.begin(genome, distributions(space), key=genome_key(genome), system=system)
        journal.end(number, Fate.EVALUATED, trivial(genome, lambda _: None, folder=""))


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-preselect", action="store_true")
    parser.add_argument("--untracked", action="store_true", help="without MLflow")
    parser.add_argument("--before", type=int, default=0, help="trials that the record holds at the start")
    options = parser.parse_args()
    knobs = tuple(Knob(name=f"x{i}", stage=Stage.STUDENT, doc="", default=0.5, low=0.0, high=1.0) for i in range(KNOBS))
    objectives = [Objective(name=name, maximise=name != "cost") for name in OBJECTIVES]
    space, meter = Space(knobs=knobs), Meter(options.trials)
    meter.watch()
    print("| trials | s per trial | driver's CPU s | of which asking | driver's memory, MiB |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as opened:
        folder = Path(scratch) / "study"
        observers: list[Observer] = [meter, EpochLog(folder)]
        journal = opened.enter_context(Journal(folder, objectives=objectives, fingerprint="overhead"))
        if not options.untracked:
            uri, spool = f"sqlite:///{scratch}/mlflow.db", folder / "spool.jsonl"
            tracker = opened.enter_context(MlflowTracker(tracking_uri=uri, spool=spool))
            tracker.start_study(StudyInfo(name="overhead", identity="one"))
            observers.append(Recorder(tracker, space))
        fill(journal, space, options.before)
        trials, assisted = options.before + options.trials, not options.no_preselect
        settings = EngineSettings(trials=trials, workers=options.workers, preselect=assisted)
        trial = Path(scratch) / "trial"
        trial.mkdir()
        (trial / "model.onnx").write_bytes(bytes(1000))
        work = Work(target=partial(trivial, folder=str(trial)), objectives=OBJECTIVES)
        run(space, work, settings=settings, journal=journal, observers=observers)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    print(f"\nJournal and epochs: {size:.1f} MiB after {trials} trials.")
    if len(meter.marks) > 2:
        ends = per_trial(*meter.marks[:2]), per_trial(*meter.marks[-2:])
        wall, cpu, asking = (last / first for first, last in zip(*ends, strict=True))
        print(f"Last hundred against the first: {wall:.2f}x on the clock, {cpu:.2f}x CPU, {asking:.2f}x asking.")
        whole = (meter.marks[-1].wall - meter.marks[0].wall) / meter.ended
        print(f"{whole:.3f} s per trial over all; the goal is 0.5 s: {'met' if whole <= GOAL_S else 'NOT MET'}")


if __name__ == "__main__":
    main()
