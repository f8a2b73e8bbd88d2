"""Fences around a trial, each run into for real."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from paretolens.errors import StoreError
from paretolens.search import limits

MIB = 2**20


def test_memory_beyond_the_cap_raises_and_the_cap_is_lifted_again() -> None:
    with limits.memory_cap(64 * MIB):
        within = bytearray(16 * MIB)
        with pytest.raises(MemoryError):
            bytearray(128 * MIB)
    assert len(bytearray(128 * MIB)) > len(within)


def test_the_cap_counts_from_what_the_process_holds() -> None:
    held = np.ones(64 * MIB, dtype=np.uint8)
    with limits.memory_cap(32 * MIB):
        assert len(bytearray(16 * MIB)) < held.size


def test_numpy_meets_the_cap_as_a_memory_error() -> None:
    with limits.memory_cap(64 * MIB), pytest.raises(MemoryError):
        np.zeros(256 * MIB, dtype=np.uint8)


def test_a_block_that_hangs_ends_its_process() -> None:
    code = """
import threading, time
from paretolens.search.limits import deadline
with deadline(30.0):
    pass
with deadline(0.2):
    threading.Event().wait(60)
print("never")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == limits.TIMEOUT_EXIT_CODE
    assert "longer than 0.2 s" in done.stderr
    assert "never" not in done.stdout


def test_threads_are_pinned_for_libraries_to_come_and_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in limits.THREAD_VARIABLES:
        monkeypatch.setenv(name, "7")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        limits.pin_threads(1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert {os.environ[name] for name in limits.THREAD_VARIABLES} == {"1"}


def test_seeds_repeat_the_global_generators() -> None:
    limits.seed_everything(5)
    first = (random.random(), float(np.random.rand()))
    limits.seed_everything(5)
    assert (random.random(), float(np.random.rand())) == first


def test_a_full_disk_is_told_before_anything_starts(tmp_path: Path) -> None:
    limits.ensure_free_space(tmp_path, 1)
    with pytest.raises(StoreError, match="MiB free, at least"):
        limits.ensure_free_space(tmp_path, 2**60)
