"""How far latency_ms of one artefact moves while two trials train beside it, next to what plain wall time does; and how often
two artefacts whose true cost is a tenth apart are ranked right.

The neighbours are two processes that train PinPoint students of this project on random clips, one thread each, all the time.
The artefacts are ONNX files on ONNX Runtime, one thread. The reference of `latency_ms` is taken once, before the neighbours
start, as in a study.

    python benchmarks/latency_noise.py [--parts spread,rankings] [--repeats 10] [--rankings 100] [--neighbours 2]

A measurement of `spread` is one of a trial, with the settings of a study. A ranking measures two artefacts, `--seconds` each at
most: less than a trial takes, so that a hundred fit into minutes; it is the harder for it; every other pair begins with the
slower one. Ctrl-C ends a part with what it has. Each part ends with its goal: `met` or `NOT MET`.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paretolens.evaluators.latency import Calibration, LatencyResult, LatencySettings, calibrate, measure_latency
from paretolens.exporters.onnx import export_onnx
from paretolens.models.signature import InputKind, InputSpec, Signature
from paretolens.search.config import load_config
from paretolens.search.live import clock

SETTINGS = LatencySettings()
MOST_CV, RIGHT = 0.03, 0.99
"""Of latency_ms beside trials that train; of the rankings of what is a tenth apart."""


class Tower(nn.Module):
    """Equal blocks, so that eleven cost a tenth more than ten."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        layers = (layer for _ in range(blocks) for layer in (nn.Conv2d(24, 24, 3, 1, 1), nn.ReLU()))
        self.body = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """Logit (B, 1)."""
        return (self.body(image).mean((1, 2, 3))[:, None],)


def tower(folder: Path, blocks: int) -> Path:
    """An exported tower."""
    signature = Signature(inputs=(InputSpec(name="image", shape=(24, 16, 16), kind=InputKind.IMAGE),), outputs=("logit",))
    torch.manual_seed(0)
    return export_onnx(Tower(blocks), signature, [torch.zeros(1, 24, 16, 16)], folder / f"tower{blocks}.onnx").path


def student() -> tuple[nn.Module, Signature]:
    """The default student, untrained."""
    config = load_config(flags={})
    family, signature = config.make_family(), config.make_family().signature(config.make_model_settings())
    return family.student(config.make_space().default(), signature, seed=0), signature


def example(signature: Signature, batch: int) -> tuple[Tensor, ...]:
    """Random inputs without padding."""
    shapes = ((spec, (batch, *spec.shape)) for spec in signature.inputs)
    return tuple(
        torch.zeros(shape, dtype=torch.bool) if spec.kind is InputKind.MASK else torch.rand(shape) for spec, shape in shapes
    )


def train_for_ever(seed: int) -> None:
    """A neighbour: trains a student until it is ended."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model, signature = student()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    inputs = example(signature, 32)
    while True:
        loss = model(*inputs).logit.square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Trials that train beside."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=train_for_ever, args=(seed,), daemon=True) for seed in range(count)]
    for process in processes:
        process.start()
    time.sleep(15 if count else 0)  # until they have imported torch and train
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def variation(values: Sequence[float]) -> float:
    """The coefficient of variation."""
    return float(np.std(values, ddof=1) / np.mean(values))


def spread(values: Sequence[float]) -> str:
    """Mean and coefficient of variation."""
    return f"{np.mean(values):.3f} ms, CV {100 * variation(values):.1f} %"


def verdict(holds: bool) -> str:
    """As `make bench-search` says it."""
    return "met" if holds else "NOT MET"


class Progress:
    """Says on the error stream how far a part is and how long it will take."""

    def __init__(self, part: str, total: int) -> None:
        self._part, self._total, self._done, self._began, self._told = part, total, 0, time.monotonic(), 0.0

    def step(self) -> None:
        """One more measurement is done; tells every five seconds."""
        self._done += 1
        now = time.monotonic()
        if now - self._told > 5:
            self._told, left = now, (now - self._began) / self._done * (self._total - self._done)
            print(f"{self._part}: {self._done} of {self._total}, about {clock(left)} left", file=sys.stderr, flush=True)


def measure(path: Path, unit: Calibration, settings: LatencySettings = SETTINGS) -> LatencyResult:
    """As a trial is measured."""
    return measure_latency(path, settings=settings, calibration=unit)


def show_spread(paths: dict[str, Path], unit: Calibration, repeats: int, when: str) -> float:
    """Repeat each measurement and print how it moves; returns the greatest coefficient of variation of latency_ms."""
    progress, worst = Progress(f"spread beside {when}", repeats * len(paths)), 0.0
    for name, path in paths.items():
        found = []
        for _ in range(repeats):
            found.append(measure(path, unit))
            progress.step()
        ours, wall = spread([result.latency_ms for result in found]), spread([result.p50_ms for result in found])
        worst = max(worst, variation([result.latency_ms for result in found]))
        print(f"| {name} | {when} | {ours} | {wall} |", flush=True)
    return worst


def show_rankings(fast: Path, slow: Path, unit: Calibration, rankings: int, seconds: float) -> None:
    """Measure both again and again, and print how often the faster one was the faster."""
    settings, progress = replace(SETTINGS, seconds=seconds), Progress("rankings", rankings)
    pairs: list[tuple[LatencyResult, LatencyResult]] = []
    try:
        for turn in range(rankings):
            pairs.append(in_turn(fast, slow, unit, settings, swapped=turn % 2 == 1))
            progress.step()
    except KeyboardInterrupt:
        print(f"stopped after {len(pairs)} of {rankings}", file=sys.stderr)
    right = sum(one.latency_ms < other.latency_ms for one, other in pairs)
    wall = sum(one.p50_ms < other.p50_ms for one, other in pairs)
    print(f"\n20 blocks before 22: right {right} of {len(pairs)} times by latency_ms, {wall} times by wall p50")
    if pairs:
        print(f"- the goal is {100 * RIGHT:.0f} of 100: {verdict(right >= RIGHT * len(pairs))}")


def in_turn(
    fast: Path, slow: Path, unit: Calibration, settings: LatencySettings, *, swapped: bool
) -> tuple[LatencyResult, LatencyResult]:
    """Figures of the fast one and the slow one, measured in that order or in the other: a drift must not decide."""
    first, second = (measure(path, unit, settings) for path in ((slow, fast) if swapped else (fast, slow)))
    return (second, first) if swapped else (first, second)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="spread,rankings", help="of spread, rankings (default: both)")
    parser.add_argument("--artefacts", default="student,20,22", help="measured in spread, of student, 20, 22 (default: all)")
    parser.add_argument("--repeats", type=int, default=10, help="measurements of each artefact (default: %(default)s)")
    parser.add_argument("--rankings", type=int, default=100, help="pairs measured (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement in a ranking (default: %(default)s)")
    parser.add_argument("--neighbours", type=int, default=2, help="trials that train beside (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model, signature = student()
        whole = export_onnx(model, signature, example(signature, 2), folder / "student.onnx").path
        slow, fast = tower(folder, 22), tower(folder, 20)
        unit, spreads = calibrate(), "spread" in options.parts
        known = {"student": ("default student", whole), "20": ("20 blocks", fast), "22": ("22 blocks", slow)}
        paths = dict(known[name] for name in options.artefacts.split(","))
        if spreads:
            print("| artefact | beside it | latency_ms | wall p50 |\n|---|---|---|---|")
            show_spread(paths, unit, options.repeats, "nothing")
        with neighbours(options.neighbours):
            if spreads:
                worst = show_spread(paths, unit, options.repeats, f"{options.neighbours} trials training")
                goal = f"beside them a CV of {100 * MOST_CV:.0f} % at most"
                print(f"- the goal is {goal}; the greatest is {100 * worst:.1f} %: {verdict(worst <= MOST_CV)}")
            if "rankings" in options.parts:
                show_rankings(fast, slow, unit, options.rankings, options.seconds)


if __name__ == "__main__":
    main()
