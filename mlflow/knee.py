"""The knee: the one model of a front that a person would most likely choose, when nothing else is said."""

import numpy as np
from numpy.typing import ArrayLike

from paretolens.mlflow.pareto import Floats, as_points, non_dominated

__all__ = ["knee_point"]

_LARGEST_SACRIFICE = 0.5


def knee_point(values: ArrayLike) -> int:
    """Row of the knee among `values` (n, m), all minimised.

    1. Every objective becomes a regret: 0 at the front's best value, 1 at its worst.
    2. Members that give up more than half of what the front offers in any one objective are set aside, as long as others are
       left: the fastest model may not tell real from fake, and is nobody's choice.
    3. The knee is the member closest to the ideal corner (compromise programming with p = 2: Yu 1973, Zeleny 1973); of equals the
       one with the smallest worst regret, then the first.

    Tried and left: scaling by the median instead of the worst value (a front crowded with fast, poor models then makes every
    accurate one look slow), and scaling again after step 2 (with few members left it weighs hair's breadths).
    Against the distance to the plane through the extremes, the usual definition for two objectives, this also holds for three
    objectives when one member is best in two of them, and for fronts that bend outwards, where that distance picks an extreme.

    Raises:
        ValueError: no row is a measurement.
    """
    points = as_points(values)
    rows = np.flatnonzero(non_dominated(points))
    if not len(rows):
        raise ValueError("no finite point to choose a knee from")
    regrets = _regrets(points[rows])
    worst = regrets.max(axis=1).round(12)
    aside = (worst > _LARGEST_SACRIFICE) & (worst <= _LARGEST_SACRIFICE).any()
    distance = np.linalg.norm(regrets, axis=1).round(12)
    return int(rows[np.lexsort((rows, worst, distance, aside))[0]])


def _regrets(points: Floats) -> Floats:
    """Each objective scaled to 0 at its best and 1 at its worst value; all 0 where every value is the same."""
    best, span = points.min(axis=0), np.ptp(points, axis=0)
    return np.asarray((points - best) / np.where(span > 0, span, 1.0), dtype=np.float64)
