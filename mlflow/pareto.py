"""Pareto dominance as plain array functions.

Everywhere in this file: `values` is (n, m) float, n points with m objectives that are all **minimised**. A row that holds NaN or
an infinity is no measurement: it never dominates, is never on a front and has rank -1.

Sources: fronts and crowding distance, Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II" (2002), III A-B.
"""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GrowingFront", "crowding", "dominates", "minimised", "non_dominated", "ranks"]

Floats = NDArray[np.float64]


def as_points(values: ArrayLike) -> Floats:
    """(n, m) float64 from anything array-like.

    Raises:
        ValueError: it does not have two axes, or has no objective.
    """
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] == 0:
        raise ValueError(f"values must be (points, objectives), got shape {points.shape}")
    return points


def minimised(frame: "pd.DataFrame", objectives: Mapping[str, str]) -> Floats:
    """(rows, objectives) float64 of a table, objectives to "max" negated; NaN where a value is missing."""
    signs = np.array([-1.0 if direction == "max" else 1.0 for direction in objectives.values()])
    return np.asarray(frame[list(objectives)].to_numpy(dtype=np.float64, na_value=np.nan) * signs, dtype=np.float64)


def dominates(first: ArrayLike, second: ArrayLike) -> bool:
    """Whether a point (m,) is at least as good in every objective and better in one."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return bool(np.all(a <= b) and np.any(a < b))


def non_dominated(values: ArrayLike, *, keep_duplicates: bool = False) -> NDArray[np.bool_]:
    """(n,) mask of the points that no other point dominates.

    Points with equal objectives are kept once, the first of them, unless `keep_duplicates`.
    """
    points = as_points(values)
    finite = np.flatnonzero(np.isfinite(points).all(axis=1))
    mask = np.zeros(len(points), dtype=bool)
    if not len(finite):
        return mask
    unique, first, inverse = np.unique(points[finite], axis=0, return_index=True, return_inverse=True)
    best = _first_front(unique)
    if keep_duplicates:
        mask[finite] = best[inverse.reshape(-1)]
    else:
        mask[finite[first[best]]] = True
    return mask


class GrowingFront:
    """The points that no other one dominates, of a table that grows; adding one takes as long as the front is, not the table.

    Points with equal objectives are all kept.
    """

    def __init__(self) -> None:
        self.rows: list[int] = []
        """Which rows of the table belong to it, ascending."""
        self._points: list[tuple[float, ...]] = []
        self._count = 0

    def add(self, values: Sequence[float]) -> None:
        """Take the next row of the table."""
        new, members = np.array(values), np.array(self._points).reshape(-1, len(values))
        row, self._count = self._count, self._count + 1
        if not np.isfinite(new).all() or ((members <= new).all(axis=1) & (members < new).any(axis=1)).any():
            return
        kept = np.asarray((members < new).any(axis=1) | (members <= new).all(axis=1))
        self.rows = [*itertools.compress(self.rows, kept), row]
        self._points = [*itertools.compress(self._points, kept), tuple(values)]


def ranks(values: ArrayLike) -> NDArray[np.int64]:
    """(n,) rank of every point: 0 on the front, 1 on the front of the rest, and so on; equal points share their rank."""
    points = as_points(values)
    finite = np.flatnonzero(np.isfinite(points).all(axis=1))
    result = np.full(len(points), -1, dtype=np.int64)
    if not len(finite):
        return result
    unique, inverse = np.unique(points[finite], axis=0, return_inverse=True)
    result[finite] = (_ranks_of_two(unique) if points.shape[1] == 2 else _ranks(unique))[inverse.reshape(-1)]
    return result


def _ranks(unique: Floats) -> NDArray[np.int64]:
    """Rank of distinct, lexicographically sorted rows, front by front."""
    level = np.full(len(unique), -1, dtype=np.int64)
    left, rank = np.arange(len(unique)), 0
    while len(left):
        front = _first_front(unique[left])
        level[left[front]] = rank
        left, rank = left[~front], rank + 1
    return level


def _ranks_of_two(unique: Floats) -> NDArray[np.int64]:
    """The same for two objectives in O(n log n).

    In that order a front dominates a row exactly if the last row it took is no worse in the second objective; those of the fronts
    taken so far grow from front to front, so that the first one that does not dominate is found by bisection.
    """
    last: list[float] = []
    level = np.empty(len(unique), dtype=np.int64)
    for row, second in enumerate(unique[:, 1].tolist()):
        rank = bisect.bisect_right(last, second)
        last[rank : rank + 1] = [second]
        level[row] = rank
    return level


def _first_front(unique: Floats) -> NDArray[np.bool_]:
    """Mask of the non-dominated rows of distinct, finite, lexicographically sorted rows.

    In that order no row is dominated by a later one, so the first row left is always on the front.
    """
    mask = np.zeros(len(unique), dtype=bool)
    left = np.arange(len(unique))
    while len(left):
        mask[left[0]] = True
        rest = left[1:]
        left = rest[(unique[rest] < unique[left[0]]).any(axis=1)]
    return mask


def crowding(values: ArrayLike) -> Floats:
    """(n,) crowding distance of points of one front: larger = lonelier, inf at both ends of an objective.

    Rows that are no measurement get NaN.
    """
    points = as_points(values)
    finite = np.flatnonzero(np.isfinite(points).all(axis=1))
    distance = np.full(len(points), np.nan)
    distance[finite] = 0.0
    for column in points[finite].T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]] if len(order) else 0.0
        if span <= 0:
            continue
        gaps = np.full(len(order), np.inf)
        gaps[1:-1] = (column[order[2:]] - column[order[:-2]]) / span
        distance[finite[order]] += gaps
    return distance
