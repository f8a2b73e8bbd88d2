"""What the controller costs per trial: a search of trivial trials on a real Ray, its time and memory by hundreds of trials.

    python benchmarks/overhead.py [--trials 2000] [--workers 2] [--before 0]

With `--before N` the record holds N trials already, as after a resume: what grows with the record shows without waiting for it.
Prints Markdown: seconds per trial and the driver's memory for each stretch of the search, and the size of its record.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

import psutil

from paretolens.search.engine import EngineSettings, run
from paretolens.search.epochs import EpochLog
from paretolens.search.journal import Journal
from paretolens.search.observer import Epoch, TrialStart
from paretolens.search.outcome import Fate, Objective, Report, TrialOutcome, TrialRecord, genome_key
from paretolens.search.sampling import distributions
from paretolens.search.worker import Work
from paretolens.spaces.knobs import Genome, Knob, Space, Stage

OBJECTIVES = ("cost", "gain", "faith")
KNOBS = 16
STRETCH = 100


def trivial(genome: Genome, report: Report) -> TrialOutcome:
    """One report and three numbers."""
    x = [float(value) for value in genome.values()]
    report({"progress_epoch": 1.0, "progress_error": x[0]})
    rest = sum(x[2:]) / len(x[2:])
    return TrialOutcome(values={"cost": x[0] + rest, "gain": x[1] - rest, "faith": -((x[0] - x[1]) ** 2) - rest})


class Meter:
    """Notes the clock and the driver's memory whenever another hundred trials have ended."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.ended = 0
        self.marks: list[tuple[float, float, float]] = []

    def trial_started(self, start: TrialStart) -> None:
        """The first start begins the measurement."""
        if not self.marks:
            self.note()

    def trial_reported(self, epoch: Epoch) -> None:
        """Nothing."""

    def trial_ended(self, entry: TrialRecord) -> None:
        """Count."""
        self.ended += 1
        if self.ended % STRETCH == 0:
            self.note()

    def note(self) -> None:
        """Wall clock, CPU time and resident memory of the driver; prints the stretch that ends."""
        cpu = self._process.cpu_times()
        self.marks.append((time.monotonic(), cpu.user + cpu.system, self._process.memory_info().rss / 2**20))
        if self.ended:
            before, after = self.marks[-2:]
            wall, busy = ((after[part] - before[part]) / STRETCH for part in (0, 1))
            print(f"| {self.ended - STRETCH + 1}-{self.ended} | {wall:.3f} | {busy:.3f} | {after[2]:.0f} |", flush=True)


def fill(journal: Journal, space: Space, count: int) -> None:
    """Write down trials that never ran."""
    rng = random.Random(0)
    for index in range(count):
        genome, system = space.sample(rng), {"NSGAIISampler:generation": index // 50}
        number = journal.begin(genome, distributions(space), key=genome_key(genome), system=system)
        journal.end(number, Fate.EVALUATED, trivial(genome, lambda _: None))


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-preselect", action="store_true")
    parser.add_argument("--before", type=int, default=0, help="trials that the record holds at the start")
    options = parser.parse_args()
    knobs = tuple(Knob(name=f"x{i}", stage=Stage.STUDENT, doc="", default=0.5, low=0.0, high=1.0) for i in range(KNOBS))
    objectives = [Objective(name=name, maximise=name != "cost") for name in OBJECTIVES]
    meter = Meter()
    print("| trials | s per trial | driver's CPU s per trial | driver's memory, MiB |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "study"
        with Journal(folder, objectives=objectives, fingerprint="overhead") as journal:
            space = Space(knobs=knobs)
            fill(journal, space, options.before)
            trials, assisted = options.before + options.trials, not options.no_preselect
            settings = EngineSettings(trials=trials, workers=options.workers, preselect=assisted)
            work = Work(target=trivial, objectives=OBJECTIVES)
            run(space, work, settings=settings, journal=journal, observers=(meter, EpochLog(folder)))
            size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    print(f"\nJournal and epochs: {size:.1f} MiB after {trials} trials.")


if __name__ == "__main__":
    main()
