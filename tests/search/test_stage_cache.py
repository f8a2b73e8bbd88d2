"""The store of trained stages: shared between processes, bounded, checked, never in the way."""

import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import nn

from paretolens.models.registry import build
from paretolens.search.stage_cache import CacheSettings, StageCache, StageResult

KEY = "a" * 32
PLAIN = {"backbone": "resnet18", "backbone_width": 0.125, "width": 32, "depth": 1, "heads": 4, "ffn": 1}
PLAIN |= {"input_frames": 4, "input_size": 32, "audio_frames": 40, "audio_convs": [16, 32]}  # type: ignore[dict-item]  # plain values


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build("pinpoint", **PLAIN).eval()


def result(seed: int = 0) -> StageResult:
    return StageResult(model=model(seed), epochs=({"distill_loss": 0.1 + seed},), records={"a.json": [1]}, seconds=2.5)


def cache_in(folder: Path, **settings: float) -> StageCache:
    return StageCache(folder, CacheSettings(**settings))  # type: ignore[arg-type]  # numbers only


def made(seed: int = 0) -> Callable[[Callable[[], None]], StageResult]:
    return lambda beat: result(seed)


def refused(beat: Callable[[], None]) -> StageResult:
    raise AssertionError("it is in the cache already")


def test_what_is_made_once_is_read_back_as_it_was(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    assert cache.load(KEY) is None
    first, reused = cache.obtain(KEY, made())
    assert not reused
    again, reused = cache.obtain(KEY, refused)
    assert reused
    assert (again.epochs, again.records, again.seconds) == (first.epochs, first.records, first.seconds)
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in first.model.state_dict().items())
    assert [(entry.folder.name, entry.uses) for entry in cache.entries()] == [(KEY, 1)]


@pytest.mark.parametrize("name", ["model/model.safetensors", "model/model.json", "stage.json"])
def test_one_changed_byte_is_noticed_told_and_made_again(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    cache = cache_in(tmp_path)
    cache.obtain(KEY, made())
    path = tmp_path / KEY / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        _, reused = cache.obtain(KEY, made())
    assert not reused
    assert "damaged and is trained again" in caplog.text
    assert len(cache.warnings) == 1
    assert cache_in(tmp_path).load(KEY) is not None


def test_a_cache_that_cannot_be_written_costs_a_warning_and_no_result(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = cache_in(tmp_path / "cache")
    found, reused = cache.obtain(KEY, made())
    assert (found.seconds, reused) == (2.5, False)
    assert cache.warnings


def test_a_full_disk_costs_a_warning_and_no_result_and_nothing_half_kept_stays(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("64k")  # the weights alone take more
    cache = cache_in(disk)
    found, reused = cache.obtain(KEY, made())
    assert (found.seconds, reused) == (2.5, False)
    assert "could not be kept" in cache.warnings[0]
    assert "No space left on device" in cache.warnings[0]
    assert [path.name for path in disk.iterdir() if path.suffix not in (".lock", ".beat")] == []
    small_disk("64m")
    assert cache.obtain(KEY, made())[1] is False
    assert cache.obtain(KEY, refused)[1] is True


def test_an_error_while_training_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(beat: Callable[[], None]) -> StageResult:
        raise ValueError("loss is not finite")

    cache = cache_in(tmp_path)
    with pytest.raises(ValueError, match="not finite"):
        cache.obtain(KEY, fail)
    assert cache.entries() == []
    assert cache.obtain(KEY, made())[1] is False


def test_those_used_longest_ago_go_first_and_what_is_read_stays(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    keys = [letter * 32 for letter in "abcd"]
    for age, key in enumerate(keys):
        cache.obtain(key, made(age))
        os.utime(tmp_path / key / "used", (1000 + age, 1000 + age))
    cache.load(keys[0])  # now the newest
    size = cache.entries()[0].size_bytes
    with FileLock(tmp_path / f"{keys[1]}.lock"):  # somebody reads the oldest
        assert cache.evict(2.5 * size)[0] == 2
    assert sorted(entry.folder.name for entry in cache.entries()) == [keys[0], keys[1]]
    bounded = cache_in(tmp_path, max_gb=1.5 * size / 1e9)
    bounded.obtain("e" * 32, made(9))
    assert [entry.folder.name for entry in bounded.entries()] == ["e" * 32]


def _train_slowly(folder: Path, marks: Path, seconds: float) -> None:
    def build_it(beat: Callable[[], None]) -> StageResult:
        (marks / f"{os.getpid()}").touch()
        for _ in range(10):
            time.sleep(seconds / 10)
            beat()
        return result()

    StageCache(folder, CacheSettings()).obtain(KEY, build_it)


def _start(folder: Path, marks: Path, seconds: float) -> multiprocessing.Process:
    marks.mkdir(exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=_train_slowly, args=(folder, marks, seconds))
    process.start()
    deadline = time.monotonic() + 120
    while not any(marks.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def test_of_two_at_once_one_trains_and_the_other_waits_for_it(tmp_path: Path) -> None:
    process = _start(tmp_path / "cache", tmp_path / "marks", seconds=0.5)
    _, reused = cache_in(tmp_path / "cache", patience_s=600).obtain(KEY, refused)
    process.join(60)
    assert reused
    assert len(list((tmp_path / "marks").iterdir())) == 1


@pytest.mark.parametrize("ahead", [0.0, -3600.0, 3600.0])
@pytest.mark.parametrize("alive", [True, False])
def test_one_that_shows_life_is_waited_for_beyond_the_patience(tmp_path: Path, *, alive: bool, ahead: float) -> None:
    """By a clock that moves .6 s at every look, with a sign of life at each, or with none since long. Its machine's clock may be
    another, or have been set back.
    """
    folder, now, looks = tmp_path / "cache", [1e9], 0
    cache_in(tmp_path / "other").obtain(KEY, made())
    folder.mkdir()
    other = FileLock(folder / f"{KEY}.lock")
    other.acquire()
    beat = folder / f"{KEY}.beat"
    beat.write_text("0.1")
    os.utime(beat, (now[0] + ahead, now[0] + ahead))

    def clock() -> float:
        nonlocal looks
        looks, now[0] = looks + 1, now[0] + 0.6
        if alive:
            beat.write_text("0.6")
            os.utime(beat, (now[0] + ahead, now[0] + ahead))
        if looks == 7:  # the other one is done
            (tmp_path / "other" / KEY).rename(folder / KEY)
            other.release()
        return now[0]

    _, reused = StageCache(folder, CacheSettings(patience_s=1.0), clock=clock).obtain(KEY, refused if alive else made())
    other.release(force=True)
    assert (reused, looks) == ((True, 7) if alive else (False, 3))


def test_one_that_dies_is_replaced_at_once(tmp_path: Path) -> None:
    process = _start(tmp_path / "cache", tmp_path / "marks", seconds=60.0)
    process.kill()
    process.join(120)
    frozen = StageCache(tmp_path / "cache", CacheSettings(), clock=lambda: 0.0)  # its patience never ends
    assert frozen.obtain(KEY, made())[1] is False


def test_one_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, patience_s=0.3)
    with FileLock(tmp_path / f"{KEY}.lock"):
        _, reused = cache.obtain(KEY, made())
    assert not reused
    assert cache.load(KEY) is not None  # what it trained alone is kept for the others


def test_an_old_lock_that_is_held_stays_and_one_that_is_not_goes(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    held, left = tmp_path / f"{KEY}.lock", tmp_path / f"{'b' * 32}.lock"
    with FileLock(held):
        for path in (held, held.with_suffix(".beat"), left, left.with_suffix(".beat")):
            path.touch()
            os.utime(path, (0, 0))
        cache.evict(1e9)
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"{KEY}.beat", f"{KEY}.lock"]
        assert StageCache(tmp_path, CacheSettings(patience_s=0.2)).obtain(KEY, made())[1] is False  # waited, then made alone
