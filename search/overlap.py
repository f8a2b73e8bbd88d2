"""Were explained clips seen in training? An explanation of what a model knows by heart says little."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paretolens.data.samples import SampleSet
from paretolens.errors import DataError

__all__ = ["refuse_training_clips"]

Arrays = Mapping[str, np.ndarray]


def refuse_training_clips(arrays: Arrays, names: tuple[str, ...], train: SampleSet, place: Path) -> None:
    """Raise where a clip is bit for bit one of a training split, whatever it is called.

    Args:
        arrays: (n, ...) per input, as sample sets keep them.
        names: (n,) what the clips are called.
        train: the training split.
        place: where the clips are, for the message.

    Raises:
        DataError: some are.
    """
    known: dict[bytes, list[int]] = {}
    for row in range(len(train)):
        known.setdefault(_key(train.arrays, row), []).append(row)
    found = [
        row for row in range(len(names)) if any(_same(arrays, row, train, other) for other in known.get(_key(arrays, row), []))
    ]
    if found:
        raise DataError(
            f"explained clips must be new to the models: {len(found)} of {len(names)} in {place} (first: {names[found[0]]}) "
            f"are in the training split {train.folder}; give other clips"
        )


def _key(arrays: Arrays, row: int) -> bytes:
    """The middle of each input, so that a large split needs not be read wholly; the whole is compared where it agrees."""
    return b"".join(np.ascontiguousarray(arrays[name][row][arrays[name].shape[1] // 2]).tobytes() for name in sorted(arrays))


def _same(arrays: Arrays, row: int, train: SampleSet, other: int) -> bool:
    return all(np.array_equal(arrays[name][row], train.arrays[name][other]) for name in arrays)
