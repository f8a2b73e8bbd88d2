"""What trials save that share trained stages: the same genomes with and without the cache, in one run on one thread.

    python benchmarks/stage_cache.py [--prefixes 2] [--variants 3] [--clips 96] [--epochs 6]

A prefix is a student with its distillation; its variants differ in prune ratio and QAT. Also says how far the latency of the
untrained student lies from that of the trained one, and how long it takes to know it.
Exit code 1 if a result depends on the cache.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from paretolens.evaluators.latency import calibrate
from paretolens.models.record import load_model
from paretolens.search.config import Config, load_config
from paretolens.search.live import clock
from paretolens.search.outcome import TrialOutcome
from paretolens.search.progress import Silent
from paretolens.search.stage_cache import CacheSettings
from paretolens.search.task import Task
from paretolens.search.trial import run_trial
from paretolens.search.workspace import Workspace
from paretolens.spaces.knobs import Genome

TINY = """
data: {{train: {clips}, val: 48, test: 16, unseen: 8, frames: 4, min_frames: 4, size: 32}}
model: {{frames: 4, frame_size: 32, audio_frames: 40, teacher: {{backbone_width: 0.25, width: 32, depth: 1, heads: 4}}}}
teacher: {{epochs: 1}}
student: {{distill: {{epochs: {epochs}}}, repair: {{epochs: 2}}, qat: {{epochs: 1}}}}
space: {{width: [32], depth: [1], frames: [4], frame_size: [32]}}
eps: {{samples: 6, nodes: 4, resamples: 100, population: all}}
latency: {{runs: 40, seconds: 1}}
first: []
"""


def genomes(config: Config, prefixes: int, variants: int) -> Iterator[Genome]:
    """Every variant of every prefix, prefix by prefix."""
    space = config.make_space()
    backbones = itertools.cycle([("resnet18", 0.125), ("mobilenet_v3_small", 0.25), ("shufflenet_v2_x0_5", 0.5)])
    stages = itertools.islice(itertools.product((0.2, 0.4, 0.0, 0.6), (False, True)), variants)
    endings = list(stages)
    for number, (backbone, width) in zip(range(prefixes), backbones, strict=False):
        for ratio, qat in endings:
            wish = {"backbone": backbone, "backbone_width": width, "alpha": 0.3 + 0.1 * number, "prune_ratio": ratio, "qat": qat}
            yield space.repair({**space.default(), **wish})


def timed(task: Task, wanted: list[Genome], folder: Path, calibration: Any) -> tuple[list[TrialOutcome], float]:
    """All trials one after another, and their seconds."""
    began, outcomes = time.monotonic(), []
    for index, genome in enumerate(wanted):
        outcomes.append(run_trial(genome, task, folder / str(index), lambda _: None, calibration=calibration))
        spent = time.monotonic() - began
        left = clock(spent / len(outcomes) * (len(wanted) - len(outcomes)))
        print(f"{folder.name}: {len(outcomes)} of {len(wanted)} trials, about {left} left", file=sys.stderr, flush=True)
    return outcomes, time.monotonic() - began


def training_seconds(outcomes: list[TrialOutcome]) -> float:
    """What distilling, pruning with repair, and QAT took."""
    return sum(outcome.metrics.get(f"seconds_{stage}", 0.0) for outcome in outcomes for stage in ("distill", "prune", "qat"))


def same(one: Path, other: Path) -> bool:
    """Whether two trials left the same weights, bit for bit."""
    left, right = load_model(one / "model").state_dict(), load_model(other / "model").state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def main() -> int:
    """Run both ways and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("prefixes", 2), ("variants", 3), ("clips", 96), ("epochs", 6)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "tiny.yaml").write_text(TINY.format(clips=options.clips, epochs=options.epochs))
        task = Task.prepare(load_config(file=folder / "tiny.yaml", flags={}), Workspace.at(folder / "runs"), Silent())
        off = replace(task, config=replace(task.config, cache=CacheSettings(stages=False)))
        wanted, calibration = list(genomes(task.config, options.prefixes, options.variants)), calibrate()
        run_trial(wanted[0], off, folder / "warm", lambda _: None, calibration=calibration)
        alone, without = timed(off, wanted, folder / "alone", calibration)
        shared, with_cache = timed(task, wanted, folder / "shared", calibration)
        equal = sum(same(folder / "alone" / str(index), folder / "shared" / str(index)) for index in range(len(wanted)))
    report(alone, shared, without, with_cache, equal)
    return 0 if equal == len(wanted) else 1


def report(alone: list[TrialOutcome], shared: list[TrialOutcome], without: float, with_cache: float, equal: int) -> None:
    """Print the figures."""
    trained = [training_seconds(outcomes) for outcomes in (alone, shared)]
    away = sorted(abs(o.metrics["latency_ms_untrained"] / o.metrics["latency_ms"] - 1) for o in (*alone, *shared))
    price = sorted(outcome.metrics["seconds_cheap"] for outcome in (*alone, *shared))
    exact = sum(all(o.metrics[f"{name}_untrained"] == o.metrics[name] for name in ("parameters", "macs")) for o in alone)
    print("| | without | with the cache | ratio |\n|---|---|---|---|")
    print(f"| {len(alone)} trials, s | {without:.1f} | {with_cache:.1f} | {without / with_cache:.2f} |")
    print(f"| of which training, s | {trained[0]:.1f} | {trained[1]:.1f} | {trained[0] / trained[1]:.2f} |")
    reused = sum(int(outcome.metrics["reused_stages"]) for outcome in shared)
    print(f"\nStages reused: {reused}. Same weights: {equal} of {len(alone)}.")
    print(
        f"Untrained against trained student: parameters and MACs equal in {exact} of {len(alone)}; latency differs by "
        f"{100 * away[len(away) // 2]:.1f} % (median), {100 * away[-1]:.1f} % (most); knowing it takes "
        f"{price[len(price) // 2]:.2f} s (median), {price[-1]:.2f} s (most)."
    )


if __name__ == "__main__":
    sys.exit(main())
