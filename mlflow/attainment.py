"""What several searches reach together: the empirical attainment of their fronts.

Sources: Grunert da Fonseca, Fonseca and Hall, "Inferential performance assessment of stochastic optimisers and the attainment
function" (2001); surfaces for two objectives as in López-Ibáñez, Paquete and Stützle, "Exploratory analysis of stochastic local
search algorithms in biobjective optimization" (2010). All objectives are minimised.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from paretolens.mlflow.pareto import Floats, as_points, non_dominated

__all__ = ["attained_over_time", "attainment_surface", "coverage"]


def attained_over_time(points: ArrayLike, targets: ArrayLike) -> Floats:
    """(n,) share of the targets (k, m) that the first 1…n points (n, m) reach, none of them worse anywhere; NaN without."""
    found, wanted = as_points(points), as_points(targets)
    if not len(wanted):
        return np.full(len(found), np.nan)
    reached = np.zeros(len(found))
    for target in wanted:
        hits = np.flatnonzero(np.all(found <= target, axis=1))
        if len(hits):
            reached[hits[0]] += 1
    return np.asarray(np.cumsum(reached) / len(wanted), dtype=np.float64)


def attainment_surface(fronts: Sequence[ArrayLike], level: float) -> Floats:
    """(k, 2) corners, by the first objective, of what at least a share `level` of the fronts (each (n, 2)) attain.

    The smallest level gives the best surface (one front reaches it), 1 the worst (all do), .5 the median.

    Raises:
        ValueError: the level isn't in 0…1, or there are no fronts.
    """
    if not fronts or not 0 <= level <= 1:
        raise ValueError(f"at least one front and a level within 0…1 are needed, got {len(fronts)} and {level}")
    points = [as_points(front) for front in fronts]
    needed = max(1, int(np.ceil(level * len(points) - 1e-9)))
    first = np.unique(np.concatenate([front[:, 0] for front in points]))
    reached = np.stack([_best_second(front, first) for front in points])
    second = np.sort(reached, axis=0)[needed - 1]
    corners = np.column_stack([first, second])
    return corners[non_dominated(corners)]


def _best_second(front: Floats, first: Floats) -> Floats:
    """The best second objective that a front reaches without exceeding each value of the first; inf where it reaches none."""
    order = np.argsort(front[:, 0], kind="stable")
    best = np.append(np.inf, np.minimum.accumulate(front[order, 1]))
    return np.asarray(best[np.searchsorted(front[order, 0], first, side="right")], dtype=np.float64)


def coverage(first: ArrayLike, second: ArrayLike) -> float:
    """C(A, B), the share of B's points that some point of A equals or dominates; NaN if B is empty.

    Zitzler and Thiele, "Multiobjective evolutionary algorithms: a comparative case study" (1999).
    """
    a, b = as_points(first), as_points(second)
    if not len(b):
        return float("nan")
    return float(np.mean(np.any(np.all(a[:, None] <= b[None], axis=2), axis=0))) if len(a) else 0.0
