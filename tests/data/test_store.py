import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from paretolens.data.samples import SampleSet
from paretolens.data.store import build_once, digest_of_json
from paretolens.errors import IntegrityError, StoreError


@pytest.fixture
def saved(sets: dict[str, SampleSet], tmp_path: Path) -> Path:
    sets["unseen"].save(tmp_path / "set")
    return tmp_path / "set"


def test_round_trip(saved: Path, sets: dict[str, SampleSet]) -> None:
    loaded, before = SampleSet.load(saved), sets["unseen"]
    assert loaded.ids == before.ids
    assert loaded.kinds == before.kinds
    assert loaded.signature == before.signature
    assert loaded.preprocessing == before.preprocessing
    assert loaded.fingerprint == before.fingerprint
    assert loaded.generated
    assert all(torch.equal(a, b) for a, b in zip(loaded.batch(slice(None)), before.batch(slice(None)), strict=True))
    np.testing.assert_array_equal(loaded.regions, before.regions)


def test_a_loaded_set_is_mapped_and_cannot_be_written(saved: Path) -> None:
    video = SampleSet.load(saved).arrays["video"]
    assert isinstance(video, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        video[0] = 0


def test_a_flipped_bit_is_found(saved: Path) -> None:
    path = saved / "input_video.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"input_video\.npy .*checksum"):
        SampleSet.load(saved)


def test_a_truncated_array_is_found_without_checksums(saved: Path) -> None:
    path = saved / "input_video.npy"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(IntegrityError, match="damaged or missing"):
        SampleSet.load(saved, verify=False)


def test_a_missing_array_is_found(saved: Path) -> None:
    (saved / "labels.npy").unlink()
    with pytest.raises(IntegrityError, match=r"labels\.npy"):
        SampleSet.load(saved)


def test_an_edited_record_is_found(saved: Path) -> None:
    record = json.loads((saved / "set.json").read_text())
    record["kinds"][0] = "real"
    (saved / "set.json").write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match="checksum differs"):
        SampleSet.load(saved)


def test_knowing_the_videos_makes_no_other_set(saved: Path, sets: dict[str, SampleSet], tmp_path: Path) -> None:
    before = sets["unseen"]
    replace(before, videos=np.arange(len(before)) // 2).save(tmp_path / "videos")
    loaded = SampleSet.load(tmp_path / "videos")
    assert loaded.fingerprint == SampleSet.load(saved).fingerprint
    assert loaded.videos is not None
    np.save(tmp_path / "videos" / "videos.npy", np.zeros(len(before), np.int64))
    with pytest.raises(IntegrityError, match=r"videos\.npy"):
        SampleSet.load(tmp_path / "videos")
    replace(before, labels=1 - before.labels).save(tmp_path / "labels")
    assert SampleSet.load(tmp_path / "labels").fingerprint != loaded.fingerprint


def test_another_format_is_refused(saved: Path) -> None:
    record = json.loads((saved / "set.json").read_text()) | {"format": 99}
    (saved / "set.json").write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match=r"format 1, .* has 99"):
        SampleSet.load(saved)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 1}'])
def test_a_foreign_record_is_one_clear_line(saved: Path, content: str) -> None:
    (saved / "set.json").write_text(content)
    with pytest.raises(IntegrityError, match=r"set\.json must be what was written"):
        SampleSet.load(saved)


def test_a_pickled_array_is_never_opened(saved: Path) -> None:
    np.save(saved / "labels.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(IntegrityError):
        SampleSet.load(saved, verify=False)


def test_saving_over_a_set_is_refused(saved: Path, sets: dict[str, SampleSet]) -> None:
    with pytest.raises(StoreError, match="exists"):
        sets["unseen"].save(saved)


def test_an_entry_that_failed_leaves_nothing_behind(tmp_path: Path) -> None:
    def build(place: Path) -> None:
        (place / "half").write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        build_once(tmp_path / "entry", build)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cache must be writable"):
        build_once(tmp_path / "file" / "entry", lambda place: None)


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    def build(place: Path) -> None:
        with Path("/dev/full").open("wb", buffering=0) as stream:
            stream.write(b"x")

    with pytest.raises(StoreError, match="No space left"):
        build_once(tmp_path / "entry", build)
    assert not (tmp_path / "entry").exists()


def _build_slowly(place: Path) -> None:
    with (place.parent / "builds.txt").open("a") as log:
        log.write("built\n")
    time.sleep(0.5)
    (place / "content").write_text("whole")


def _build_in_process(folder: Path) -> None:
    build_once(folder, _build_slowly)


def test_two_processes_build_an_entry_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_build_in_process, args=(tmp_path / "entry",)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "builds.txt").read_text() == "built\n"
    assert (tmp_path / "entry" / "content").read_text() == "whole"


def test_digest_ignores_the_order_of_keys() -> None:
    assert digest_of_json({"a": 1, "b": 2}) == digest_of_json({"b": 2, "a": 1}) != digest_of_json({"a": 2, "b": 1})
