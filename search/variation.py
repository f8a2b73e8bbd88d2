"""Children of a population: recombined, nudged by a knob or two, or drawn afresh. Knows no values and no sampler."""

import math
import random
from collections.abc import Iterator, Sequence

from paretolens.spaces.knobs import Genome, Knob, Space, Value, nearest_value

__all__ = ["children", "nudged"]

_RESAMPLE = 0.3
"""Chance that a nudged number is drawn afresh instead of moved a little."""
_STEPS = (0.2, 0.05, 0.01)
"""Standard deviations of a move as shares of the range: far, near, fine."""


def children(space: Space, parents: Sequence[Genome], count: int, rng: random.Random) -> Iterator[Genome]:
    """`count` genomes: a fifth drawn at random, two fifths nudged parents, two fifths recombined ones. Not repaired."""
    for index in range(count):
        match index % 5:
            case 0:
                yield space.sample(rng)
            case 1 | 2:
                yield nudged(space, rng.choice(parents), rng)
            case _:
                child = _recombined(rng.choice(parents), rng.choice(parents), rng)
                yield nudged(space, child, rng) if rng.random() < 0.5 else child


def nudged(space: Space, genome: Genome, rng: random.Random) -> Genome:
    """The genome with one knob changed, sometimes two or three."""
    count = 1 + (rng.random() < 0.3) + (rng.random() < 0.1)
    knobs = rng.sample(space.knobs, min(count, len(space.knobs)))
    return {**genome, **{knob.name: _moved(knob, genome[knob.name], rng) for knob in knobs}}


def _recombined(first: Genome, second: Genome, rng: random.Random) -> Genome:
    """Uniform crossover."""
    return {name: rng.choice((first, second))[name] for name in first}


def _moved(knob: Knob, value: Value, rng: random.Random) -> Value:
    if isinstance(value, str | bool) or rng.random() < _RESAMPLE:
        return knob.sample(rng)
    if knob.grid:
        return _along(sorted(knob.grid, key=float), float(value), rng)
    low, high = knob.low or 0.0, knob.high or 0.0
    if knob.log:
        return math.exp(_within(math.log(value), math.log(low), math.log(high), rng))
    return _within(float(value), low, high, rng)


def _along(ladder: Sequence[Value], value: float, rng: random.Random) -> Value:
    """A neighbour on a ladder of values, usually the next."""
    place = ladder.index(nearest_value(value, ladder))
    step = max(1, round(abs(rng.gauss(0.0, 0.15)) * len(ladder)))
    return ladder[min(len(ladder) - 1, max(0, place + rng.choice((-step, step))))]


def _within(value: float, low: float, high: float, rng: random.Random) -> float:
    return min(high, max(low, value + rng.gauss(0.0, rng.choice(_STEPS)) * (high - low)))
