"""Peak memory of scoring at two sample counts."""

import threading
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench_eps.cases import Case, image_case, pinpoint_case
from paretolens.evaluators.eps import EpsSettings, Population, TeacherReference, score_eps


def anonymous_mb() -> float:
    """Memory of this process that no file backs, MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return float(line.split()[1]) / 1e3
    return float("nan")


def untrained_case(name: str, samples: int) -> Case:
    """What memory is measured on: the weights do not matter."""
    return image_case(samples, steps=0) if name == "image" else pinpoint_case(samples)


def write_reference(name: str, samples: int, folder: Path) -> None:
    """The student's own maps in the place of the teacher's."""
    settings = EpsSettings(population=Population.ALL, change_share=0.0, nodes=4, probes=4, doublings=0)
    case = untrained_case(name, samples)
    TeacherReference.compute(next(iter(case.students.values())), case.explained, settings).save(folder)


def peak_mb(name: str, folder: Path) -> tuple[float, float]:
    """Anonymous memory before scoring, and the most while scoring, with everything else mapped from disk."""
    torch.set_num_threads(1)
    student, reference = next(iter(untrained_case(name, 2).students.values())), TeacherReference.load(folder, verify=False)
    before, highest, done = anonymous_mb(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.005):
            highest = max(highest, anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    score_eps(student, reference)
    done.set()
    watcher.join()
    return before, highest


def memory() -> None:
    """Print what scoring takes at two sample counts, each in a fresh process."""
    for name in ("image", "audio-visual"):
        for count in (64, 512):
            with TemporaryDirectory() as place, get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
                folder = Path(place) / "reference"
                fresh.apply(write_reference, (name, count, folder))
                before, peak = fresh.apply(peak_mb, (name, folder))
            used = peak - before
            print(f"{name}: {count} samples, {before:.0f} MB before, peak {peak:.0f} MB, {used:.0f} MB for scoring", flush=True)
