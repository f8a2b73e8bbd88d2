"""What keeps one trial from taking the others down: memory, time, threads, seeds, disk."""

import ctypes
import os
import random
import resource
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paretolens.errors import StoreError

__all__ = [
    "KERNEL_CACHE",
    "MINIMUM_FREE_BYTES",
    "THREAD_VARIABLES",
    "deadline",
    "ensure_free_space",
    "memory_cap",
    "pin_threads",
    "release_memory",
    "seed_everything",
]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Set in a worker's environment before any numerical library is imported."""
KERNEL_CACHE = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "4096"}
"""The same. Batches differ in the number of frames that are not padding; oneDNN compiles each convolution for each number anew.
By default it keeps 1024; with more, an epoch of a mobile network takes a seventh less."""
TIMEOUT_EXIT_CODE = 86
MINIMUM_FREE_BYTES = 512 * 2**20
"""Room on a disk without which nothing is begun there."""


@contextmanager
def memory_cap(limit_bytes: int | None) -> Iterator[None]:
    """Let this process's private memory grow by at most `limit_bytes` while the block runs; None for no cap.

    What exceeds it raises MemoryError (NumPy, Python) or RuntimeError (torch) in the trial instead of waking the kernel's or
    Ray's memory killer. Linux counts reserved private memory (RLIMIT_DATA), which is a little more than what is touched.
    """
    if limit_bytes is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _private_bytes() + limit_bytes
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """End the whole process if the block takes longer; None for no limit.

    Signals cannot interrupt a trial, which runs off the main thread and may hang inside a library. The driver sees a dead worker.
    """
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, _exit, (seconds,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def pin_threads(count: int) -> None:
    """Let numerical libraries use `count` threads: the environment for those imported later, torch if it is there already."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def seed_everything(seed: int) -> None:
    """Seed the global generators that libraries fall back on; code of ours takes its seed as an argument."""
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed % 2**32)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def release_memory() -> None:
    """Give freed memory back between two trials of a reused worker."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim:
        trim(0)


def ensure_free_space(folder: Path, minimum_bytes: int) -> None:
    """Make sure that a folder's disk has room.

    Raises:
        StoreError: it has less than `minimum_bytes` free.
    """
    free = shutil.disk_usage(folder).free
    if free < minimum_bytes:
        raise StoreError(f"{folder}: {free // 2**20} MiB free, at least {minimum_bytes // 2**20} MiB needed; free some space")


def _private_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmData; a memory cap needs Linux")


def _exit(seconds: float) -> None:
    sys.stderr.write(f"the trial took longer than {seconds:g} s; its process ends\n")
    sys.stderr.flush()
    os._exit(TIMEOUT_EXIT_CODE)
