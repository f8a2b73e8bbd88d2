"""Front members whose place rests on differences smaller than the measurements' own intervals."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from paretolens.mlflow.names import interval_names
from paretolens.mlflow.objectives import Direction
from paretolens.mlflow.pareto import Floats

__all__ = ["ties"]


def ties(members: pd.DataFrame, objectives: Mapping[str, Direction]) -> list[list[int]]:
    """For every row, the rows that would dominate it if differences within the intervals counted as none.

    Two values are within their intervals if each lies inside the other's; an objective without an interval is taken as exact. The
    intervals are those of each model alone. Models scored on the same clips differ by less than that, so a tie found here may
    still be told apart by a paired test, and a difference beyond it is one.
    """
    better = np.stack([_clearly_better(members, name, direction) for name, direction in objectives.items()])
    ahead = np.any(better, axis=0)  # [i, j]: i is clearly better than j in something
    return [np.flatnonzero(~ahead[row] & ahead[:, row]).tolist() for row in range(len(members))]


def _clearly_better(members: pd.DataFrame, name: str, direction: Direction) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(n, n): row i is better than row j by more than their intervals."""
    value = members[name].to_numpy(dtype=np.float64)
    low, high = (_end(members, end, value) for end in interval_names(name))
    inside = (value[None, :] >= low[:, None]) & (value[None, :] <= high[:, None])
    sign = 1.0 if direction == "max" else -1.0
    better = sign * (value[:, None] - value[None, :]) > 0
    return np.asarray(better & ~(inside & inside.T), dtype=bool)


def _end(members: pd.DataFrame, name: str, value: Floats) -> Floats:
    if name not in members:
        return value
    return members[name].fillna(pd.Series(value, index=members.index)).to_numpy(dtype=np.float64)
