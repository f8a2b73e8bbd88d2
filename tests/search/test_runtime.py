"""Scratch folders of drivers: those of the dead go, those of the living stay, whoever looks."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from paretolens.search.runtime import sweep


def _folder(place: Path, name: str, *, locked: bool = True) -> Path:
    folder = place / f"plens-{name}"
    folder.mkdir()
    if locked:
        (folder / "driver.lock").touch()
    return folder


def test_only_folders_whose_lock_nobody_holds_are_removed(tmp_path: Path) -> None:
    dead, alive = _folder(tmp_path, "999999999-dead"), _folder(tmp_path, "999999998-of-another-container")
    young, other = _folder(tmp_path, "young", locked=False), tmp_path / "other"
    other.mkdir()
    held = os.open(alive / "driver.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    sweep(tmp_path)
    assert not dead.exists()
    assert alive.exists()
    assert young.exists()
    assert other.exists()
    os.close(held)
    sweep(tmp_path)
    assert not alive.exists()


def test_two_that_sweep_at_once_do_not_hinder_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _folder(tmp_path, "1"), _folder(tmp_path, "2")
    take = fcntl.flock

    def slower(descriptor: int, operation: int) -> None:
        """Before the first lock is taken, the other has removed both."""
        for folder in (first, second):
            shutil.rmtree(folder, ignore_errors=True)
        take(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", slower)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
