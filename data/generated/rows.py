"""Arrays on disk whose rows several processes fill: allocated first, then mapped by each, so that memory stays flat."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from paretolens.data.parallel import each_batch

__all__ = ["Columns", "allocate_rows", "in_batches", "open_rows"]

Columns = Mapping[str, tuple[tuple[int, ...], Any]]
"""Name → shape of one row and type."""
Item = TypeVar("Item")
Entry = TypeVar("Entry")


def allocate_rows(folder: Path, columns: Columns, count: int) -> None:
    """Make a new folder with one .npy file of `count` rows per column.

    Raises:
        OSError: the disk has no room for them.
    """
    folder.mkdir()
    for name, (shape, kind) in columns.items():
        path = folder / f"{name}.npy"
        np.lib.format.open_memmap(path, "w+", kind, (count, *shape)).flush()
        _reserve(path)


def open_rows(folder: Path, columns: Columns) -> dict[str, np.ndarray]:
    """The same arrays, mapped to be written."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in columns}


def in_batches(
    make: Callable[[Sequence[Item]], list[Entry]],
    items: Sequence[Item],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> list[Entry]:
    """What `make` returns for all items, in no order; it runs in several processes, so it must be picklable.

    Args:
        make: Handles a few items.
        items: All of them.
        workers: Processes; 1 does everything in this one.
        progress: Called with (items done, items in all).
    """
    entries: list[Entry] = []
    for made in each_batch(make, items, workers):
        entries += made
        if progress is not None:
            progress(len(entries), len(items))
    return entries


def _reserve(path: Path) -> None:
    """Take the blocks of a mapped file now: a disk that fills up while it is written would end the process with SIGBUS."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
