"""Arrays on disk whose rows several processes fill: allocated first, then mapped by each, so that memory stays flat."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

__all__ = ["Columns", "allocate_rows", "in_batches", "open_rows"]

Columns = Mapping[str, tuple[tuple[int, ...], Any]]
"""Name → shape of one row and type."""
BATCH = 16
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
    make: Callable[[Sequence[Item]], Sequence[Entry]],
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
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    entries: list[Entry] = []
    for done, made in enumerate(_run(make, batches, workers), start=1):
        entries += made
        if progress is not None:
            progress(min(done * BATCH, len(items)), len(items))
    return entries


def _run(
    make: Callable[[Sequence[Item]], Sequence[Entry]], batches: Sequence[Sequence[Item]], workers: int
) -> Iterator[Sequence[Entry]]:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if workers <= 1 or len(batches) == 1 or (script is not None and not Path(script).exists()):  # typed in: nothing to spawn from
        for batch in batches:
            yield make(batch)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context, initializer=_one_thread) as pool:
        pending = {pool.submit(make, batch) for batch in batches}
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _reserve(path: Path) -> None:
    """Take the blocks of a mapped file now: a disk that fills up while it is written would end the process with SIGBUS."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
