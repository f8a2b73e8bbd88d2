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

    Over each cell of the grid that the front's coordinates span, everything below one height is not dominated; cells of equal
    height make one box. With three and more objectives the grid of a long front is too large; then the loneliest members stand
    for the front.

    Args:
        points: (n, m) measured points.
        reference: (m,) worst value of interest in each objective.
    """

    def __init__(self, points: Floats, reference: Floats) -> None:
        front = points[(points < reference).all(axis=1)]
        front = front[non_dominated(front)] if len(front) else front
        front = _thinned(front, axes=len(reference) - 1)
        axes = [np.unique(front[:, axis]) for axis in range(len(reference) - 1)]
        height = _heights(front, axes, float(reference[-1]))
        places = np.indices(height.shape).reshape(len(axes), height.size)
        low = [np.concatenate([[-np.inf], axis])[place] for axis, place in zip(axes, places, strict=True)]
        high = [np.append(axis, top)[place] for axis, top, place in zip(axes, reference, places, strict=False)]
        boxes = np.column_stack([*low, *high, height.ravel()])
        for axis in reversed(range(len(axes))):
            boxes = _merged(boxes, axis, len(axes))
        self._low, self._high, self._height = np.split(boxes, [len(axes), 2 * len(axes)], axis=1)

    def improvement(self, points: Floats) -> Floats:
        """(k,) hypervolume that each of (k, m) points would add on its own."""
        rows = max(1, _CHUNK // len(self._height))
        parts = [self._improvement(points[start : start + rows]) for start in range(0, len(points), rows)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _improvement(self, points: Floats) -> Floats:
        volume = np.maximum(self._height[:, 0] - points[:, -1, None], 0.0)
        for axis in range(self._low.shape[1]):
            volume *= np.maximum(self._high[:, axis] - np.maximum(points[:, axis, None], self._low[:, axis]), 0.0)
        return np.asarray(volume.sum(axis=1))


def _merged(boxes: Floats, axis: int, axes: int) -> Floats:
    """Boxes (k, low of each axis, high of each axis, height) with those joined that touch along an axis and are else equal."""
    others = np.delete(boxes, [axis, axes + axis], axis=1)
    order = np.lexsort([boxes[:, axis], *others.T])
    boxes, others = boxes[order], others[order]
    joins = (others[1:] == others[:-1]).all(axis=1) & (boxes[1:, axis] == boxes[:-1, axes + axis])
    starts = np.flatnonzero(np.append(True, ~joins))
    found = boxes[starts]
    found[:, axes + axis] = boxes[np.append(starts[1:], len(boxes)) - 1, axes + axis]
    return np.asarray(found)


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
