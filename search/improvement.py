"""Hypervolume improvement: by how much each of many points would push a front out.

Everything is minimised. Plain arrays in and out.
"""

import numpy as np
from numpy.typing import NDArray

from paretolens.mlflow.pareto import crowding, non_dominated

__all__ = ["Stairs"]

Floats = NDArray[np.float64]
_MOST_CELLS = 1024
_CHUNK = 2_000_000
"""Numbers held at once."""


class Stairs:
    """The part of objective space that a front does not dominate, cut into boxes along all axes but the last.

    Over each cell of the grid that the front's coordinates span, everything below one height is not dominated. With three and
    more objectives the grid of a long front is too large; then the loneliest members stand for the front.

    Args:
        points: (n, m) measured points.
        reference: (m,) worst value of interest in each objective.
    """

    def __init__(self, points: Floats, reference: Floats) -> None:
        front = points[(points < reference).all(axis=1)]
        front = front[non_dominated(front)] if len(front) else front
        front = _thinned(front, axes=len(reference) - 1)
        axes = [np.unique(front[:, axis]) for axis in range(len(reference) - 1)]
        self._low = [np.concatenate([[-np.inf], axis]) for axis in axes]
        self._high = [np.append(axis, top) for axis, top in zip(axes, reference, strict=False)]
        self._height = _heights(front, axes, float(reference[-1]))

    def improvement(self, points: Floats) -> Floats:
        """(k,) hypervolume that each of (k, m) points would add on its own."""
        rows = max(1, _CHUNK // self._height.size)
        parts = [self._improvement(points[start : start + rows]) for start in range(0, len(points), rows)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _improvement(self, points: Floats) -> Floats:
        overlap = np.ones((len(points), 1))
        for axis, (low, high) in enumerate(zip(self._low, self._high, strict=True)):
            width = np.maximum(high - np.maximum(points[:, axis, None], low), 0.0)
            overlap = (overlap[:, :, None] * width[:, None, :]).reshape(len(points), -1)
        depth = np.maximum(self._height.ravel() - points[:, -1, None], 0.0)
        return np.asarray(np.einsum("kc,kc->k", overlap, depth))


def _thinned(front: Floats, *, axes: int) -> Floats:
    most = int(_MOST_CELLS ** (1 / max(1, axes))) - 1
    if len(front) <= most:
        return front
    return front[np.argsort(-crowding(front), kind="stable")[:most]]


def _heights(front: Floats, axes: list[Floats], top: float) -> Floats:
    """For every cell, the lowest last coordinate among the members that reach it."""
    height = np.full([len(axis) + 1 for axis in axes], top)
    for member in front:
        cell = tuple(slice(int(np.searchsorted(axis, value)) + 1, None) for axis, value in zip(axes, member, strict=False))
        height[cell] = np.minimum(height[cell], member[-1])
    return height
