"""A Ray of a driver: scratch folders of the dead go, those of the living stay; a cluster that refuses is one clear line."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from paretolens.errors import BackendError
from paretolens.search.runtime import ray_runtime, sweep


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


@pytest.mark.parametrize(("mode", "hint"), [(None, "set RAY_AUTH_MODE=token"), ("token", "see 'paretolens doctor'")])
def test_a_cluster_that_turns_the_driver_away_may_want_a_token(
    monkeypatch: pytest.MonkeyPatch, mode: str | None, hint: str
) -> None:
    def refuse(**_: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster at 192.0.2.7:6379")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", refuse)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(BackendError, match=hint), ray_runtime(address="auto", cpus=0, gpus=0, threads=1):
        pass
