"""The knee: the one model of a front that a person would most likely choose, when nothing else is said."""

import numpy as np
from numpy.typing import ArrayLike

from paretolens.mlflow.pareto import Floats, as_points, non_dominated

__all__ = ["knee_point"]

_LARGEST_SACRIFICE = 0.5


def knee_point(values: ArrayLike, *, largest_sacrifice: float = _LARGEST_SACRIFICE) -> int:
    """Row of the knee among `values` (n, m), all minimised.

    1. Every objective of the front is scaled to its regret: 0 at the best value of the front, 1 at the worst.
    2. Members that give up more than `largest_sacrifice` of what the front offers in any one objective are set aside, as long as
       others are left: the fastest model which can't tell real from fake is on the front, but nobody's choice.
    3. The rest is scaled again, so that the extremes set aside don't make a real loss look small.
    4. The knee is the member closest to the ideal corner (compromise programming with p = 2: Yu 1973, Zeleny 1973); of equals the
       one with the smallest worst regret, then the first.

    Against the distance to the plane through the extremes, the usual definition for two objectives, this also holds for three
    objectives when one member is best in two of them, and for fronts that bend outwards, where that distance picks an extreme.

    Raises:
        ValueError: no row is a measurement.
    """
    points = as_points(values)
    rows = np.flatnonzero(non_dominated(points))
    if not len(rows):
        raise ValueError("no finite point to choose a knee from")
    worst = _regrets(points[rows]).max(axis=1)
    balanced = rows[worst <= largest_sacrifice]
    candidates = balanced if len(balanced) else rows
    regrets = _regrets(points[candidates])
    order = np.lexsort((candidates, regrets.max(axis=1).round(12), np.linalg.norm(regrets, axis=1).round(12)))
    return int(candidates[order[0]])


def _regrets(points: Floats) -> Floats:
    """Each objective scaled to 0 at its best and 1 at its worst value; all 0 where every value is the same."""
    best, worst = points.min(axis=0), points.max(axis=0)
    span = np.where(worst > best, worst - best, 1.0)
    return np.asarray((points - best) / span, dtype=np.float64)
