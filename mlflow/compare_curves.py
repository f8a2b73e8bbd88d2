"""What the pictures of a comparison draw: the attainment surface of each side in one pair of objectives.

Of a side with one study the surface is that study's front in these two objectives alone; of a side with several, the median of
what they attain is drawn bold, the best and the worst thin.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from paretolens.mlflow.attainment import attainment_surface
from paretolens.mlflow.chart import Rule, rules_of
from paretolens.mlflow.compare import Comparison, Side
from paretolens.mlflow.objectives import Direction
from paretolens.mlflow.pareto import Floats, minimised

__all__ = ["COLOURS", "Curve", "compared_rules", "comparison_headline", "curves_of", "is_log"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe–Ito; each side also has a shape of its own."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One side in one pair of objectives, in natural units."""

    name: str
    """The side."""
    members: pd.DataFrame
    """Its front."""
    middle: Floats
    """(k, 2) corners of the median surface."""
    ends: tuple[Floats, ...]
    """Best and worst surface, where they differ from the median's."""


def curves_of(found: Comparison, x: str, y: str) -> list[Curve]:
    """Every side in one pair of objectives."""
    two = {name: found.objectives[name] for name in (x, y)}
    return [_curve(side, two, (found.reference[x], found.reference[y])) for side in found.sides]


def _curve(side: Side, two: dict[str, Direction], reference: tuple[float, float]) -> Curve:
    signs = np.array([-1.0 if direction == "max" else 1.0 for direction in two.values()])
    names = list(two) if len(two) == 2 else [*two, *two]
    points = [minimised(found.members[names], two)[:, [0, -1]] for found in side.fronts.values() if len(found.members)]
    both = signs[[0, -1]]
    levels = (0.5,) if len(points) < 2 else (0.5, 0.0, 1.0)
    surfaces = [both * attainment_surface(points, level) if points else np.zeros((0, 2)) for level in levels]
    ordered = [_to_the_edges(surface, reference, two[names[0]]) for surface in surfaces]
    return Curve(name=side.name, members=side.together.members, middle=ordered[0], ends=tuple(ordered[1:]))


def _to_the_edges(surface: Floats, reference: tuple[float, float], direction: Direction) -> Floats:
    """Corners by x, with the ends of the stairs: what is attained reaches to the worst value of either objective."""
    if not len(surface):
        return surface
    stairs = surface[np.argsort(surface[:, 0], kind="stable")]
    (first_x, first_y), (last_x, last_y), (worst_x, worst_y) = stairs[0], stairs[-1], reference
    ends = ((first_x, worst_y), (worst_x, last_y)) if direction == "min" else ((worst_x, first_y), (last_x, worst_y))
    return np.vstack([ends[0], stairs, ends[1]])


def compared_rules(found: Comparison, axis: str) -> list[Rule]:
    """The floor and the reference of every study on an axis of EPS, each once; named by the study where they differ."""
    studies = {name: front.study.metrics for side in found.sides for name, front in side.fronts.items() if front.study}
    drawn: dict[tuple[float, ...], Rule] = {}
    owners: dict[tuple[float, ...], list[str]] = {}
    for name, metrics in studies.items():
        for rule in rules_of(metrics, axis):
            where = (rule.dash == "dash", rule.value, rule.low, rule.high)
            drawn.setdefault(where, rule)
            owners.setdefault(where, []).append(name)
    several = {key: len(names) < len(studies) for key, names in owners.items()}
    return [
        replace(rule, label=f"{rule.label}: {', '.join(owners[key])}") if several[key] else rule for key, rule in drawn.items()
    ]


def is_log(found: Comparison, x: str) -> bool:
    """Whether the axis of x is drawn on a log scale."""
    return found.objectives[x] == "min" and min(found.ideal[x], found.reference[x]) > 0


def comparison_headline(found: Comparison) -> tuple[str, str]:
    """Title and subtitle of a picture."""
    shares = ", ".join(f"{side.name} {side.hypervolume:.3f}" for side in found.sides)
    several = any(len(side.fronts) > 1 for side in found.sides)
    lines = "; bold: median surface, dashed: best and worst" if several else ""
    kept = f"; only trials with {found.where}" if found.where else ""
    return " against ".join(side.name for side in found.sides), f"hypervolume in the common box: {shares}{lines}{kept}"
