"""Before a search: what its students cost here, whether limits can be met, how long it will take.

Looked at are the students with the fewest and the most multiply-accumulates and a few random ones.

Nothing is trained and nothing is decoded. Students and teacher are built untrained; a few training steps on noise are timed and
multiplied by the epochs of the configuration and the samples that settings or the lists of a folder name. Shares of the
teacher's figures need only its architecture.
"""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import nn

from paretolens.errors import DataError
from paretolens.evaluators.latency import Calibration
from paretolens.exporters.probe_inputs import probe_tensors
from paretolens.search.bounds import resolve, violations
from paretolens.search.cheap import CheapCost, cost_of, shapes, teacher_cost
from paretolens.search.config import Config
from paretolens.search.stages import loops_of
from paretolens.search.step_time import step_seconds
from paretolens.spaces.knobs import Genome, Stage
from paretolens.trainers.cost import cost_of as count
from paretolens.trainers.device import device_for
from paretolens.trainers.quantise import quantisers_off

__all__ = ["Preview", "Row", "preview"]

SESSION_S = 25.0
"""Start of Ray and of a worker with its libraries, on a laptop: 10–25 s and 6–13 s were measured."""
ALIGNED = 3.0
"""Steps without alignment that one step of it takes beside its own."""
UNCONVERGED = 1.125
"""Gradients in all for each that every explained clip gets: an eighth of the clips is done again with twice the nodes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One student."""

    label: str
    """Which one it is."""
    genome: Genome
    """Its genes."""
    cost: CheapCost
    """What it costs, untrained."""
    over: Mapping[str, float]
    """Limit → by which share it is exceeded."""
    seconds: float
    """How long its trial would take; one over a limit ends after a moment, whatever this says."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What is known before a search."""

    teacher: CheapCost
    """The teacher's cost."""
    limits: Mapping[str, float]
    """Limit in the metric's own unit."""
    rows: tuple[Row, ...]
    """The student with the fewest operations (in float and, where the space allows, int8), a middling one, the one with the most.
    Fewest operations is not fastest: depthwise layers take long for what they count."""
    drawn: tuple[Row, ...]
    """Random genomes, as the sampler begins with."""
    trial_seconds: float
    """Mean duration of a trial over the random genomes within the limits; over all of them if none is."""
    fixed_seconds: float
    """Before and after the trials: teacher, starting workers, measuring the front again."""
    search_seconds: float
    """Trials / workers × the mean trial, and the fixed part."""
    samples: Mapping[str, int] = field(default_factory=dict)
    """Samples of each split; empty = unknown, and the times are those of a search without training."""
    unlisted: str = ""
    """Why they are unknown."""

    @property
    def reachable(self) -> dict[str, bool]:
        """Limit → whether one of the students looked at keeps to it."""
        every = (*self.rows, *self.drawn)
        return {name: any(name not in row.over for row in every) for name in self.limits}

    @property
    def within(self) -> int:
        """Random genomes that keep to all limits."""
        return sum(not row.over for row in self.drawn)


def preview(config: Config, calibration: Calibration | None = None, *, draws: int = 5) -> Preview:
    """Look at a search without running it.

    Args:
        config: valid.
        calibration: unit of time on a CPU.
        draws: random genomes to measure.

    Raises:
        UserError, TrialError: a student cannot be built, exported or run here.
    """
    teacher = teacher_cost(config, calibration)
    limits = resolve(config.limits, teacher.figures())
    samples, unlisted = _samples(config)
    look = partial(_look, config=config, calibration=calibration, limits=limits, samples=samples)
    generator = random.Random(config.seed)
    space = config.make_space()
    drawn = sorted((look("random", space.sample(generator)) for _ in range(draws)), key=lambda row: row.cost.macs)
    rows = [look(label, genome) for label, genome in _extremes(config).items()]
    rows.insert(-1, replace(drawn[len(drawn) // 2], label="middle (random)"))
    usable = [row for row in drawn if not row.over] or drawn
    mean = sum(row.seconds for row in usable) / len(usable)
    fixed = _teacher_seconds(config, samples) + SESSION_S
    search = config.search
    return Preview(
        teacher=teacher, limits=limits, rows=tuple(rows), drawn=tuple(drawn), trial_seconds=mean, fixed_seconds=fixed,
        search_seconds=search.trials * mean / min(search.workers, search.trials) + fixed, samples=samples, unlisted=unlisted,
    )  # fmt: skip


def _look(
    label: str, genome: Genome, *, config: Config, calibration: Calibration | None, limits: Mapping[str, float],
    samples: Mapping[str, int],
) -> Row:  # fmt: skip
    loops = loops_of(genome, config.student)
    train, val, seconds = samples.get("train", 0), samples.get("val", 0), 0.0
    for stage, student in shapes(genome, config):  # the last one is priced below
        step, look = _timed(student, config, loops[stage].batch_size)
        slower = 1 + ALIGNED / float(genome["align_every"]) if stage == "align" else 1.0
        seconds += loops[stage].epochs * (train * step * slower + val * look)
    began = time.monotonic()
    cost = cost_of(student, config, calibration)
    seconds += 2 * (time.monotonic() - began)  # before training and after it
    with quantisers_off(student):
        gradient, _ = _timed(student, config, config.eps.nodes)
    seconds += UNCONVERGED * config.eps.samples * config.eps.nodes * gradient
    seconds += sum(samples.get(split, 0) for split in ("val", "test", "unseen")) * cost.latency_ms / 1e3
    return Row(label=label, genome=genome, cost=cost, over=violations(limits, cost.figures()), seconds=seconds)


def _extremes(config: Config) -> dict[str, Genome]:
    """The genomes with the fewest and the most multiply-accumulates, found knob by knob; the former also as int8."""
    space = config.make_space()
    found: dict[str, Genome] = {}
    for label, sign in (("fewest MACs", 1.0), ("most MACs", -1.0)):
        genome = space.default()
        for knob in space.knobs:
            if knob.stage is Stage.STUDENT and len(knob.grid) > 1:
                choices = [space.repair({**genome, knob.name: value}) for value in knob.grid]
                genome = min(choices, key=lambda choice: sign * _macs(choice, config))
        ratios = _values(space.knob("prune_ratio"))
        plain = {**genome, "prune_ratio": max(ratios) if sign > 0 else min(ratios)}
        precisions = {bool(value) for value in space.knob("qat").grid}
        found[label] = space.repair({**plain, "qat": min(precisions)})
        if sign > 0 and True in precisions:
            found["fewest MACs, int8"] = space.repair({**plain, "qat": True})
    return found


def _values(knob: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in knob.grid or (knob.low, knob.high))


def _macs(genome: Genome, config: Config) -> float:
    family = config.make_family()
    signature = family.signature(config.make_model_settings())
    return float(count(family.student(genome, signature, seed=config.seed), probe_tensors(signature, batch=1)).macs)


def _teacher_seconds(config: Config, samples: Mapping[str, int]) -> float:
    teacher = config.make_family().teacher(config.make_model_settings(), seed=config.seed)
    step, look = _timed(teacher, config, config.teacher.batch_size)
    train = samples.get("train", 0)
    return config.teacher.epochs * (train * step + samples.get("val", 0) * look) + train * look


def _samples(config: Config) -> tuple[dict[str, int], str]:
    """Samples of each split, and why they are unknown if they are: the data may lie on another machine."""
    try:
        return config.make_source().listed(config.make_data_settings()), ""
    except DataError as error:
        return {}, str(error)


def _timed(model: nn.Module, config: Config, batch: int) -> tuple[float, float]:
    """Seconds per clip of a training step and of a forward pass, on noise, where the study trains."""
    signature = config.make_family().signature(config.make_model_settings())
    return step_seconds(model, probe_tensors(signature, batch=batch), device_for(config.device))
