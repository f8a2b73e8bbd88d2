"""The coarse grid on which it is marked which part of a picture is manipulated."""

import numpy as np

__all__ = ["REGION_CELLS", "coarse"]

REGION_CELLS = 16


def coarse(mask: np.ndarray) -> np.ndarray:
    """Which cells of a coarse grid a mask (n, S, S) in 0..1 changes by half or more somewhere: (n, 16, 16) bool."""
    edges = np.linspace(0, mask.shape[1], REGION_CELLS + 1).astype(int)[:-1]
    highest = np.maximum.reduceat(np.maximum.reduceat(mask, edges, axis=1), edges, axis=2)
    marked: np.ndarray = highest >= 0.5
    return marked
