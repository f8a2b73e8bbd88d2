"""Disks that are really full: of the cache, of the tracking store, of a study's folder."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from paretolens.data.generated.settings import GeneratedSettings
from paretolens.data.prepare import prepare
from paretolens.errors import StoreError
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import check_store
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo

Disk = Callable[[str], Path]


def fill(folder: Path) -> Path:
    """Leave no room at all."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        for block in (2**20, 4096):
            try:
                while True:
                    file.write(b"\0" * block)
            except OSError:
                continue
    return path


@pytest.mark.parametrize("size", ["512k", "1144k"])  # no room for the arrays, none for the clips
def test_a_full_cache_is_one_clear_line_and_nothing_half_made_stays(small_disk: Disk, size: str) -> None:
    settings, disk = GeneratedSettings(train=4, val=2, test=2, unseen=2), small_disk(size)
    with pytest.raises(StoreError, match=r"the cache must be writable, .*No space left on device.*free space"):
        prepare(settings, disk, workers=1)
    assert [path.name for path in (disk / "generated").iterdir() if not path.name.endswith(".lock")] == []
    small_disk("64m")
    assert len(prepare(settings, disk, workers=1)["train"]) == 4


def test_a_store_whose_disk_fills_up_is_waited_for_and_gets_everything(small_disk: Disk, tmp_path: Path) -> None:
    disk = small_disk("8m")
    store = check_store(f"sqlite:///{disk}/mlflow.db")
    with MlflowTracker(tracking_uri=store, spool=tmp_path / "spool.jsonl", close_timeout_s=30.0) as tracker:
        tracker.start_study(StudyInfo(name="full"))
        assert tracker.flush(120)
        ballast = fill(disk)
        for trial in range(40):
            tracker.start_trial(f"trial-{trial:04d}", params={f"p{index}": "x" * 400 for index in range(20)}, genome=f"g{trial}")
            tracker.finish_trial(f"trial-{trial:04d}", TrialState.COMPLETE, metrics={"accuracy": 0.5})
        deadline = time.monotonic() + 60
        while not tracker.trouble and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "full" in tracker.trouble or "disk I/O error" in tracker.trouble
        ballast.unlink()
        assert tracker.flush(120)
        assert tracker.trouble == ""
    trials = read_study("full", tracking_uri=store).trials
    assert len(trials) == 40
    assert set(trials["state"]) == {"complete"}


def test_a_store_on_a_full_disk_is_refused_before_anything_starts(small_disk: Disk) -> None:
    disk = small_disk("64k")
    fill(disk)
    with pytest.raises(StoreError, match=r"tracking store .*"):
        check_store(f"sqlite:///{disk}/mlflow.db")
    assert [path.name for path in disk.iterdir()] == ["ballast"]
