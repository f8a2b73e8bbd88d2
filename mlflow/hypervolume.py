"""Hypervolume: how much of the objective space, up to a reference point, a set of points dominates.

Exact for any number of objectives by slicing along the last one (While et al., "A faster algorithm for calculating hypervolume",
2006): O(n log n) for two objectives, O(n² log n) for three; meant for two to four.
"""

import numpy as np
from numpy.typing import ArrayLike

from paretolens.mlflow.pareto import Floats, as_points, non_dominated

__all__ = ["hypervolume", "hypervolume_history"]


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Volume dominated by `values` (n, m), all minimised, and bounded by `reference` (m,).

    Points that are not better than the reference in every objective, or not finite, add nothing.

    Raises:
        ValueError: the reference is not finite or has another number of objectives.
    """
    points, corner = as_points(values), np.asarray(reference, dtype=np.float64)
    if corner.shape != (points.shape[1],) or not np.isfinite(corner).all():
        raise ValueError(f"reference must be {points.shape[1]} finite numbers, got {corner.tolist()}")
    inside = np.isfinite(points).all(axis=1) & (points < corner).all(axis=1)
    return _volume(points[inside], corner)


def hypervolume_history(values: ArrayLike, reference: ArrayLike) -> Floats:
    """(n,) hypervolume of the first 1, 2, … n rows of `values` (n, m), all minimised.

    Each row adds what it alone dominates: its box, less what the front so far has of it (While et al., "A fast way of calculating
    exact hypervolumes", 2012, equation 3). Rows that add nothing cost next to nothing.

    Raises:
        ValueError: the reference is not finite or has another number of objectives.
    """
    points, corner = as_points(values), np.asarray(reference, dtype=np.float64)
    total, result = hypervolume(points[:0], corner), np.zeros(len(points))
    front = points[:0]
    for row, point in enumerate(points):
        inside = bool(np.isfinite(point).all() and (point < corner).all())
        if inside and not (front <= point).all(axis=1).any():
            total += float(np.prod(corner - point)) - _volume(np.maximum(front, point), corner)
            front = np.vstack([front[~(point <= front).all(axis=1)], point])
        result[row] = total
    return result


def _volume(points: Floats, corner: Floats) -> float:
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(corner[0] - points.min())
    points = points[non_dominated(points)]
    if points.shape[1] == 2:
        stairs = points[np.argsort(points[:, 0])]
        heights = np.append(corner[1], stairs[:-1, 1]) - stairs[:, 1]
        return float(np.sum((corner[0] - stairs[:, 0]) * heights))
    points = points[np.argsort(points[:, -1], kind="stable")]
    depths = np.diff(np.append(points[:, -1], corner[-1]))
    return sum(float(depth) * _volume(points[: i + 1, :-1], corner[:-1]) for i, depth in enumerate(depths) if depth > 0)
