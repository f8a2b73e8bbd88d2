"""Batches of work in several processes, whose results come as they are done, and which survive the death of a process."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

__all__ = ["BATCH", "each_alone", "each_batch"]

BATCH = 16
"""Most items of a batch."""
SHARE = 4
"""A batch is at most this part of what each process has left: the last ones are single items, so that all end together."""
AHEAD = 3
"""Batches per process that wait in the pool."""
Item = TypeVar("Item")
Entry = TypeVar("Entry")
Make = Callable[[Sequence[Item]], list[Entry]]


def each_batch(
    make: Make[Item, Entry], items: Sequence[Item], workers: int, *, crashed: Callable[[Item], list[Entry]] | None = None
) -> Iterator[list[Entry]]:
    """What `make` returns for a few items at a time, in the order in which they are done.

    Args:
        make: Handles a few items; picklable.
        items: All of them.
        workers: Processes; 1 does everything in this one.
        crashed: What to return for an item whose process died, for instance of a fault in a decoder; None raises.

    Raises:
        BrokenProcessPool: a process died, and nobody says what to return for its item.
    """
    if workers <= 1 or len(items) <= 1 or not _can_spawn():
        size = max(1, min(BATCH, len(items) // 2))
        yield from map(make, (items[start : start + size] for start in range(0, len(items), size)))
        return
    left = dict(enumerate(_batches(items, workers)))
    while left:
        suspects = yield from _in_pool(make, left, workers, forgiving=crashed is not None)
        if crashed is None:
            return
        for number in suspects:
            yield from _one_by_one(make, left.pop(number), crashed)


def each_alone(
    make: Make[Item, Entry], items: Sequence[Item], *, crashed: Callable[[Item], list[Entry]]
) -> Iterator[list[Entry]]:
    """As `each_batch`, one item at a time in a process that it may kill."""
    yield from _one_by_one(make, items, crashed) if _can_spawn() else map(make, ([item] for item in items))


def _batches(items: Sequence[Item], workers: int) -> Iterator[Sequence[Item]]:
    """Shrinking batches (guided self-scheduling, Polychronopoulos and Kuck 1987)."""
    start = 0
    while start < len(items):
        size = max(1, min(BATCH, (len(items) - start) // (SHARE * workers)))
        yield items[start : start + size]
        start += size


def _can_spawn() -> bool:
    """Whether there is a program that another process could begin with; there is none where it was typed in."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return script is None or Path(script).exists()


def _in_pool(
    make: Make[Item, Entry], left: dict[int, Sequence[Item]], workers: int, *, forgiving: bool
) -> Generator[list[Entry], None, list[int]]:
    """Work until all is done or a process dies; returns the batches that may have killed it."""
    waiting = iter(list(left))
    running: dict[Future[list[Entry]], int] = {}
    with _pool(workers) as pool:
        try:
            while True:
                for number in waiting:
                    running[pool.submit(make, left[number])] = number
                    if len(running) >= AHEAD * workers:
                        break
                if not running:
                    return []
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    left.pop(running.pop(future))
                    yield result
        except BrokenProcessPool:
            if not forgiving:
                raise
            return sorted(running.values())[: workers + 1]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _one_by_one(make: Make[Item, Entry], items: Sequence[Item], crashed: Callable[[Item], list[Entry]]) -> Iterator[list[Entry]]:
    left = list(items)
    while left:
        with _pool(1) as pool:
            try:
                while left:
                    result = pool.submit(make, left[:1]).result()
                    left.pop(0)
                    yield result
            except BrokenProcessPool:
                yield crashed(left.pop(0))


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=workers, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread)


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # for a torch that is imported later
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)
