"""Peak memory of explaining with the teacher and of scoring a student, at two sample counts.

The bootstrap is kept small: its table of draws takes 16 bytes for each resample and source clip (32 kB a clip by default) while
it is made, whatever is scored.
"""

import threading
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bench_eps.cases import Case, image_case, pinpoint_case
from bench_eps.goal import Goal
from paretolens.evaluators.eps import EpsSettings, Population, TeacherReference, score_eps

COUNTS = {"image": (256, 2048), "audio-visual": (64, 512)}
"""Samples; far enough apart for what freed memory hides (some 50 MB) not to matter."""
ONCE = 1.5
"""Most that explaining may grow by, in maps of the samples that were added: holding them twice takes 2."""
FLAT = 1.5
"""Most that scoring may take at the larger count, in what it takes at the smaller."""


def anonymous_mb() -> float:
    """Memory of this process that no file backs, MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return float(line.split()[1]) / 1e3
    return float("nan")


def watched(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work gives, and the most that it takes beside what was there before, MB."""
    before, highest, done = anonymous_mb(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.005):
            highest = max(highest, anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = work()
    done.set()
    watcher.join()
    return result, max(highest, anonymous_mb()) - before


def untrained_case(name: str, samples: int) -> Case:
    """What memory is measured on: the weights do not matter."""
    return image_case(samples, steps=0) if name == "image" else pinpoint_case(samples)


def explaining(name: str, samples: int, folder: Path) -> tuple[float, float]:
    """Peak of making the reference and size of its maps, MB; the student's own maps are kept in the place of the teacher's."""
    torch.set_num_threads(1)
    settings = EpsSettings(population=Population.ALL, change_share=0.0, nodes=4, probes=4, doublings=0, resamples=100)
    case = untrained_case(name, samples)
    model = next(iter(case.students.values()))
    reference, used = watched(lambda: TeacherReference.compute(model, case.explained, settings))
    reference.save(folder)
    maps = [part for one in (*reference.grids.values(), *reference.pixels.values()) for part in vars(one).values()]
    return used, sum(part.nbytes for part in maps if isinstance(part, torch.Tensor)) / 1e6


def scoring(name: str, folder: Path) -> float:
    """Peak of scoring, MB, with everything else mapped from disk."""
    torch.set_num_threads(1)
    student, reference = next(iter(untrained_case(name, 2).students.values())), TeacherReference.load(folder, verify=False)
    return watched(lambda: score_eps(student, reference))[1]


def memory(kinds: Sequence[str]) -> list[Goal]:
    """Print what both take at two sample counts, each in a fresh process; what has to hold."""
    goals = []
    for name in kinds:
        counts, found = COUNTS[name], []
        for count in counts:
            with TemporaryDirectory() as place, get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
                folder = Path(place) / "reference"
                used, maps = fresh.apply(explaining, (name, count, folder))
                scored = fresh.apply(scoring, (name, folder))
            found.append((used, maps, scored))
            print(
                f"{name}: {count} samples, maps of {maps:.0f} MB; peak of explaining {used:.0f} MB, of scoring {scored:.0f} MB",
                flush=True,
            )
        (used, maps, scored), (more_used, more_maps, more_scored) = found
        grown = (more_used - used) / (more_maps - maps)
        goals.append(Goal(text=f"{name}, explaining: MB for each MB of maps", reached=grown, wanted=ONCE, at_least=False))
        text = f"{name}, scoring: {counts[1]} samples against {counts[0]}"
        goals.append(Goal(text=text, reached=more_scored / scored, wanted=FLAT, at_least=False))
    return goals
