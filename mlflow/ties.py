"""Front members whose place rests on differences smaller than the measurements' own intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paretolens.mlflow.names import interval_names
from paretolens.mlflow.objectives import Direction
from paretolens.mlflow.paired import Samples, different
from paretolens.mlflow.pareto import Floats

__all__ = ["ties"]

Bools = NDArray[np.bool_]


def ties(
    members: pd.DataFrame,
    objectives: Mapping[str, Direction],
    samples: Mapping[str, Sequence[Samples | None]] | None = None,
    levels: Mapping[str, float] | None = None,
) -> list[list[int]]:
    """For every row, the rows that would dominate it if differences within the intervals counted as none.

    Where two rows have `samples` of an objective, scored on the same clips, they differ if the interval of their paired
    difference leaves out 0. Where not, two values are within their intervals if each lies inside the other's, which calls more
    models tied than a paired comparison would. `levels` are those of the paired intervals, 0…1, by objective; 0.95 unless named.
    An objective without an interval is taken as exact.
    """
    paired, level = samples or {}, levels or {}
    better = np.stack([
        _better(members, name, direction) & _apart(members, name, paired.get(name), level.get(name, 0.95))
        for name, direction in objectives.items()
    ])  # fmt: skip
    ahead = np.any(better, axis=0)  # [i, j]: i is clearly better than j in something
    return [np.flatnonzero(~ahead[row] & ahead[:, row]).tolist() for row in range(len(members))]


def _better(members: pd.DataFrame, name: str, direction: Direction) -> Bools:
    """(n, n): row i has the better value than row j."""
    value = members[name].to_numpy(dtype=np.float64)
    sign = 1.0 if direction == "max" else -1.0
    return np.asarray(sign * (value[:, None] - value[None, :]) > 0, dtype=bool)


def _apart(members: pd.DataFrame, name: str, samples: Sequence[Samples | None] | None, confidence: float) -> Bools:
    """(n, n): the values of rows i and j differ by more than their noise."""
    value = members[name].to_numpy(dtype=np.float64)
    low, high = (_end(members, end, value) for end in interval_names(name))
    inside = (value[None, :] >= low[:, None]) & (value[None, :] <= high[:, None])
    apart = np.asarray(~(inside & inside.T), dtype=bool)
    for i, first in enumerate(samples or ()):
        for j, second in enumerate((samples or ())[:i]):
            if first is not None and second is not None and first.matches(second):
                verdict = different(first, second, confidence=confidence)
                if verdict is not None:  # else they share no sample, and the intervals decide
                    apart[i, j] = apart[j, i] = verdict
    return apart


def _end(members: pd.DataFrame, name: str, value: Floats) -> Floats:
    if name not in members:
        return value
    return members[name].fillna(pd.Series(value, index=members.index)).to_numpy(dtype=np.float64)
