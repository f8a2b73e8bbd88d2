"""Beginning where an earlier study ended: the genomes of its front, fitted to another space."""

from collections.abc import Iterable, Sequence

import numpy as np

from paretolens.mlflow.pareto import non_dominated
from paretolens.search.outcome import Fate, Objective, TrialRecord
from paretolens.spaces.knobs import Genome, Knob, Space, Value, nearest_value

__all__ = ["adapted", "front_genomes"]


def front_genomes(records: Iterable[TrialRecord], objectives: Sequence[Objective]) -> list[Genome]:
    """Genomes of the evaluated trials that no other dominates, best first by the first objective."""
    names = [objective.name for objective in objectives]
    entries = [entry for entry in records if entry.fate is Fate.EVALUATED and all(name in entry.values for name in names)]
    if not entries:
        return []
    signs = np.array([objective.sign for objective in objectives])
    values = signs * np.array([[entry.values[name] for name in names] for entry in entries])
    members = sorted(np.flatnonzero(non_dominated(values)).tolist(), key=lambda row: float(values[row, 0]))
    return [entries[row].genome for row in members]


def adapted(space: Space, genome: Genome) -> Genome:
    """The nearest genome of the space: unknown knobs dropped, missing ones at their default, values moved into their range."""
    return space.repair({knob.name: _fitted(knob, genome.get(knob.name, knob.default)) for knob in space.knobs})


def _fitted(knob: Knob, value: Value) -> Value:
    if knob.holds(value):
        return value
    if isinstance(value, str | bool) or isinstance(knob.default, str | bool):
        return knob.default
    if knob.grid:
        return nearest_value(value, knob.grid)
    return min(max(float(value), knob.low or 0.0), knob.high or 0.0)
