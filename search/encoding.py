"""Genomes as rows of numbers, so that distances between them mean something. Plain arrays out; knows no sampler."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from paretolens.spaces.knobs import Genome, Knob, Space, Value

__all__ = ["Encoding"]

Floats = NDArray[np.float64]


class Encoding:
    """One column per knob: numbers on 0…1 in the order of their size, names and switches as whole numbers.

    A knob that is idle for a genome stands at its default, so that equal trials are equal rows.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._defaults = {knob.name: knob.default for knob in space.knobs}
        self._places = [_places(knob) for knob in space.knobs]
        self.nominal: NDArray[np.bool_] = np.array([_nominal(knob) for knob in space.knobs])
        """(d,) whether a column holds names: two of them are equal or not, never near."""

    def rows(self, genomes: Iterable[Genome]) -> Floats:
        """(n, d) float64 of n complete genomes."""
        rows = [self._row(genome) for genome in genomes]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self._places))

    def _row(self, genome: Genome) -> list[float]:
        idle = self._space.idle(genome)
        return [
            _place(knob, places, self._defaults[knob.name] if knob.name in idle else genome[knob.name])
            for knob, places in zip(self._space.knobs, self._places, strict=True)
        ]


def _nominal(knob: Knob) -> bool:
    return any(isinstance(value, str | bool) for value in knob.choices)


def _places(knob: Knob) -> dict[Value, float]:
    """Where each choice stands: by its rank, since choices such as 16, 32, 64 are rungs of a ladder. Empty for a range."""
    if not knob.choices:
        return {}
    if _nominal(knob):
        return {value: float(index) for index, value in enumerate(knob.choices)}
    ordered = sorted(knob.choices, key=float)
    return {value: index / max(1, len(ordered) - 1) for index, value in enumerate(ordered)}


def _place(knob: Knob, places: dict[Value, float], value: Value) -> float:
    if places:
        return places[value]
    low, high, number = knob.low or 0.0, knob.high or 0.0, float(value)
    if knob.log:
        low, high, number = math.log(low), math.log(high), math.log(number)
    return (number - low) / (high - low) if high > low else 0.0
