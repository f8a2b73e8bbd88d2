"""Two or more searches held against each other: hypervolume, coverage, who dominates whom, and what they were set to.

A side is one study, or several seeds of one configuration. Hypervolumes are shares of one box for all: from the best value of
each objective that any side reached to the worst one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from paretolens.errors import ConfigurationError
from paretolens.mlflow.attainment import coverage
from paretolens.mlflow.comparable import Difference, configuration_differences, differences, require_comparable
from paretolens.mlflow.front import Front, front_of
from paretolens.mlflow.hypervolume import hypervolume
from paretolens.mlflow.objectives import DEFAULT_OBJECTIVES, Direction
from paretolens.mlflow.pareto import Floats, minimised
from paretolens.mlflow.records import StudyRecord, merge_studies, study_labels
from paretolens.mlflow.runs import PARAM_PREFIX

__all__ = ["Comparison", "Dominated", "Side", "compare", "tried_values"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One party of a comparison."""

    name: str
    """Its studies' names, joined by commas."""
    fronts: Mapping[str, Front]
    """The front of each of its studies, by the study's name."""
    together: Front
    """The front of all of them."""
    hypervolumes: Mapping[str, float]
    """Share of the common box that each study's front dominates."""
    hypervolume: float
    """Share of the common box that their common front dominates."""


@dataclass(frozen=True, kw_only=True)
class Dominated:
    """A member of one side's front that another side beats in every objective, or in one and loses in none."""

    trial: str
    """The member, as `study/trial`."""
    by: tuple[str, ...]
    """Members of the other side that dominate it."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came out."""

    objectives: Mapping[str, Direction]
    """Metric → direction."""
    where: str | None
    """The filter that was applied to every study; None for none."""
    sides: tuple[Side, ...]
    """The parties, in the order they were named."""
    ideal: Mapping[str, float]
    """The best value of each objective among all trials: one corner of the box."""
    reference: Mapping[str, float]
    """The worst value of each objective among all trials: the other corner."""
    coverage: Mapping[tuple[str, str], float]
    """(A, B) → share of B's members that a member of A equals or dominates."""
    dominated: Mapping[tuple[str, str], tuple[Dominated, ...]]
    """(A, B) → the members of B that members of A dominate."""
    configuration: tuple[Difference, ...]
    """Settings and versions that differ, per side (those of its first study)."""
    knobs: Mapping[str, tuple[str, ...]]
    """Knob → what each side tried; "–" where a side doesn't have it."""
    notes: tuple[str, ...]
    """What was compared although it was measured differently."""


def compare(
    sides: Sequence[Sequence[StudyRecord]],
    objectives: Mapping[str, str] = DEFAULT_OBJECTIVES,
    where: str | None = None,
    *,
    force: bool = False,
) -> Comparison:
    """Hold searches against each other.

    Args:
        sides: The studies of each side, two sides or more.
        objectives: Logged metrics and their directions.
        where: Filter applied to every study before sorting.
        force: Compare what was measured differently, and say so in the notes.

    Raises:
        ConfigurationError: fewer than two sides, a study on two sides, no trial to compare, or figures that were measured
            differently (unless `force`).
    """
    if len(sides) < 2:
        raise ConfigurationError("at least two studies are needed to compare, as in 'paretolens compare A B'")
    everything = [record for side in sides for record in side]
    merge_studies(everything)  # no study twice
    if not force:
        require_comparable(everything, objectives)
    names = dict(zip((record.run_id for record in everything), study_labels(everything), strict=True))
    fronts = [{names[record.run_id]: front_of(record, objectives, where, paired=False) for record in side} for side in sides]
    together = [front_of(merge_studies(side) if len(side) > 1 else side[0], objectives, where, paired=False) for side in sides]
    checked = together[0].objectives
    best, worst = _corners([values for side in together for values in [minimised(side.trials, checked)]])
    parties = tuple(_side(own, common, best, worst) for own, common in zip(fronts, together, strict=True))
    pairs = [(a, b) for a in parties for b in parties if a is not b]
    signs = _signs(checked)
    return Comparison(
        objectives=checked,
        where=where,
        sides=parties,
        ideal=dict(zip(checked, (signs * best).tolist(), strict=True)),
        reference=dict(zip(checked, (signs * worst).tolist(), strict=True)),
        coverage={(a.name, b.name): coverage(_points(a.together), _points(b.together)) for a, b in pairs},
        dominated={(a.name, b.name): _dominated(a, b) for a, b in pairs},
        configuration=tuple(configuration_differences([side[0] for side in sides])),
        knobs=_knobs([side.together.trials for side in parties]),
        notes=_notes(everything, checked) if force else (),
    )


def _side(fronts: dict[str, Front], together: Front, best: Floats, worst: Floats) -> Side:
    box = float(np.prod(worst - best))
    shares = {
        name: hypervolume(_points(found), worst) / box if box > 0 else 0.0 for name, found in {**fronts, "": together}.items()
    }
    whole = shares.pop("")
    return Side(name=",".join(fronts), fronts=fronts, together=together, hypervolumes=shares, hypervolume=whole)


def _points(found: Front) -> Floats:
    return minimised(found.members, found.objectives)


def _signs(objectives: Mapping[str, Direction]) -> Floats:
    return np.array([-1.0 if direction == "max" else 1.0 for direction in objectives.values()])


def _corners(values: list[Floats]) -> tuple[Floats, Floats]:
    points = np.concatenate(values)
    if not len(points):
        raise ConfigurationError("no complete trial to compare: run the searches first, or loosen --where")
    return points.min(axis=0), points.max(axis=0)


def _dominated(first: Side, second: Side) -> tuple[Dominated, ...]:
    a, b = _points(first.together), _points(second.together)
    ahead = np.all(a[:, None] <= b[None], axis=2) & np.any(a[:, None] < b[None], axis=2)
    winners, losers = (_labels(side) for side in (first, second))
    return tuple(
        Dominated(trial=losers[column], by=tuple(winners[ahead[:, column]])) for column in np.flatnonzero(ahead.any(axis=0))
    )


def _labels(side: Side) -> "np.ndarray[tuple[int], np.dtype[np.object_]]":
    """`study/trial` of every member; fronts of several studies have it so already."""
    names = side.together.members["trial"].astype(str)
    return (names if len(side.fronts) > 1 else side.name + "/" + names).to_numpy(dtype=object)


def _knobs(tables: list[pd.DataFrame]) -> dict[str, tuple[str, ...]]:
    names = dict.fromkeys(str(name) for table in tables for name in table if str(name).startswith(PARAM_PREFIX))
    return {name.removeprefix(PARAM_PREFIX): tuple(tried_values(table, name) for table in tables) for name in names}


def tried_values(table: pd.DataFrame, name: str) -> str:
    """The values of a column as a list, as a range where there are many numbers; a dash where there are none."""
    values = table[name].dropna() if name in table else pd.Series(dtype=object)
    if not len(values):
        return "–"
    distinct = sorted(set(values.tolist()), key=lambda value: (isinstance(value, str), value))
    if len(distinct) > 6 and pd.api.types.is_numeric_dtype(values):
        return f"{distinct[0]:.4g} … {distinct[-1]:.4g}"
    return ", ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in distinct)


def _notes(records: Sequence[StudyRecord], objectives: Mapping[str, Direction]) -> tuple[str, ...]:
    found = {name: differences(records, name) for name in objectives}
    return tuple(
        f"{name} was measured differently ({', '.join(map(str, differing[:3]))}): the comparison says little about it"
        for name, differing in found.items()
        if differing
    )
