import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paretolens.data.clips import read_inputs
from paretolens.data.folder import FolderSource, told
from paretolens.data.pipeline.journal import read_done
from paretolens.data.pipeline.settings import Contents, FolderSettings, Take
from paretolens.data.reading import Crop, Select
from paretolens.data.samples import SampleSet
from paretolens.errors import ConfigurationError, DataError, IntegrityError

SOURCE = FolderSource()


def settings(path: Path, **change: object) -> FolderSettings:
    return FolderSettings(**{"path": path, "size": 32, "frames": 16, "fps": 8.0} | change)


@pytest.fixture(scope="module")
def sets(lavdf: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SampleSet]:
    return SOURCE.prepare(settings(lavdf), tmp_path_factory.mktemp("cache"), workers=1)


def test_every_row_is_its_file(sets: dict[str, SampleSet], lavdf: Path) -> None:
    assert {split: len(samples) for split, samples in sets.items()} == {"train": 4, "val": 4, "test": 4}
    samples = sets["val"]
    assert samples.ids == tuple(f"val/dev/{number:06d}.mp4" for number in range(4))
    alone = read_inputs(lavdf / "dev" / "000003.mp4", samples.signature, samples.preprocessing)
    assert all(torch.equal(one, row) for one, row in zip(alone, samples.batch([3]), strict=True))
    assert not samples.generated


def test_labels_periods_and_regions_are_those_of_the_list(sets: dict[str, SampleSet]) -> None:
    samples = sets["train"]
    assert samples.labels.tolist() == [0, 0, 1, 1]
    assert samples.kinds == ("real", "real", "video", "audio")
    np.testing.assert_allclose(samples.periods, [(0, 0), (0, 0), (0.5, 1), (0.5, 1)])
    assert samples.regions[2].any(axis=(1, 2)).tolist() == [4 <= frame < 8 for frame in range(16)]
    assert not samples.regions[[0, 1, 3]].any()
    assert samples.groups[2] == samples.groups[0]
    assert samples.groups[3] == samples.groups[1] != samples.groups[0]
    assert samples.offsets.tolist() == [5, 5, -100, -100]
    assert samples.sounds is not None
    assert samples.sounds.tolist() == [False, False, False, True]
    assert samples.subset([3, 0]).sounds.tolist() == [True, False]


def test_sound_is_scaled_by_the_training_split(sets: dict[str, SampleSet]) -> None:
    _, audio, _, mask = sets["train"].batch(slice(None))
    assert audio[~mask].mean(dim=0).abs().max() < 1e-3


def test_the_second_time_nothing_is_decoded(sets: dict[str, SampleSet], lavdf: Path) -> None:
    folder = sets["train"].folder
    assert folder is not None
    seen: list[tuple[int, int]] = []
    again = SOURCE.prepare(settings(lavdf), folder.parent.parent.parent, lambda done, total: seen.append((done, total)))
    assert again["train"].fingerprint == sets["train"].fingerprint
    assert seen == []
    assert not list(folder.parent.parent.glob("*.decoding"))


def test_two_processes_decode_what_one_does(sets: dict[str, SampleSet], lavdf: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    both = SOURCE.prepare(settings(lavdf), tmp_path, lambda done, total: seen.append((done, total)), workers=2)
    assert {split: samples.fingerprint for split, samples in both.items()} == {
        split: samples.fingerprint for split, samples in sets.items()
    }
    assert seen[-1] == (12, 12)
    assert seen == sorted(seen)


@pytest.mark.parametrize("how", Contents)
def test_a_changed_file_is_another_set_and_a_touched_one_is_not(how: Contents, lavdf: Path, tmp_path: Path, encode) -> None:
    root = tmp_path / "set"
    shutil.copytree(lavdf, root)
    cache, wanted = tmp_path / "cache", settings(root, contents=how)
    first = SOURCE.prepare(wanted, cache, workers=1)["train"].folder
    os.utime(root / "train" / "000001.mp4")
    assert SOURCE.prepare(wanted, cache, workers=1)["train"].folder == first
    encode(root / "train" / "000001.mp4", first=90)
    changed = SOURCE.prepare(wanted, cache, workers=1)["train"]
    assert changed.folder != first
    assert abs(float(changed.arrays["video"][1, 0].mean()) - 90) < 5


def test_windows_of_one_video_share_their_group(lavdf: Path, tmp_path: Path) -> None:
    samples = SOURCE.prepare(settings(lavdf, frames=4, windows=3), tmp_path, workers=1)["test"]
    assert len(samples) == 12
    assert samples.ids[:3] == tuple(f"test/test/000000.mp4@{start:.3f}" for start in (0.0, 0.75, 1.5))
    assert samples.labels[6:9].tolist() == [0, 1, 0]  # 0.5 s from 0, 0.75 and 1.5 s on; fake from 0.5 to 1 s
    assert len(set(samples.groups[6:9].tolist())) == 1
    assert len(set(samples.ids)) == 12


def test_other_frames_are_chosen_and_nothing_counts_as_in_sync(lavdf: Path, tmp_path: Path) -> None:
    samples = SOURCE.prepare(settings(lavdf, frames=2, fps=1.0, select=Select.DIVERSITY, oversample=8), tmp_path, workers=1)[
        "train"
    ]
    assert samples.arrays["video"].shape == (4, 2, 3, 32, 32)
    levels = samples.arrays["video"][0].mean(axis=(1, 2, 3))
    assert abs(levels[1] - levels[0]) >= 50  # the middle and one end of a clip that grows brighter by 8 a frame
    assert (samples.offsets == -100).all()
    assert samples.moments is not None  # frame k is shown k / 8 s after the clip's start
    np.testing.assert_allclose(levels, 40 + 8 * (8 * samples.moments[0]), atol=4)
    np.testing.assert_array_equal(SampleSet.load(samples.folder).subset([2]).moments, samples.moments[[2]])


def test_frames_of_videos_are_pictures(lavdf: Path, tmp_path: Path) -> None:
    wanted = settings(lavdf, take=Take.PICTURES, per_video=4)
    samples = SOURCE.prepare(wanted, tmp_path, workers=1)["train"]
    assert samples.arrays["image"].shape == (16, 3, 32, 32)
    assert samples.videos is not None
    assert samples.videos.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    levels = samples.arrays["image"][:4].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [40 + 8 * frame for frame in (2, 6, 10, 14)], atol=4)
    assert samples.labels.reshape(4, 4).tolist() == [[0] * 4, [0] * 4, [0, 1, 0, 0], [0] * 4]  # a fake sound can't be seen
    assert SOURCE.signature(wanted).inputs == samples.signature.inputs


def test_pictures_are_no_clips(tmp_path: Path) -> None:
    for name in ("real/a.png", "fake/b.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    with pytest.raises(DataError, match=r"data\.take is clips, but .* holds pictures: set data.take to pictures"):
        SOURCE.prepare(settings(tmp_path), tmp_path / "cache")


def test_a_damaged_set_is_named(lavdf: Path, tmp_path: Path) -> None:
    made = SOURCE.prepare(settings(lavdf, frames=2), tmp_path, workers=1)["val"]
    assert made.folder is not None
    path = made.folder / "input_video.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError, match=r"input_video\.npy"):
        SOURCE.prepare(settings(lavdf, frames=2), tmp_path)


def test_what_was_decoded_before_a_kill_is_not_decoded_again(lavdf: Path, tmp_path: Path) -> None:
    """A process is killed once its journal has lines; the files it has done are then hidden from the next one's decoder."""
    script = tmp_path / "work.py"
    script.write_text(
        "import os, sys, time\nfrom pathlib import Path\n"
        "from paretolens.data.folder import FolderSource\nfrom paretolens.data.pipeline.settings import FolderSettings\n"
        "def slowly(done, total):\n    print(done, flush=True)\n    time.sleep(60 if done >= 6 else 0)\n"
        "settings = FolderSettings(path=Path(sys.argv[1]), size=32, frames=16, fps=8.0)\n"
        "import paretolens.data.parallel as parallel\nparallel.BATCH = 3\n"
        "FolderSource().prepare(settings, Path(sys.argv[2]), slowly, workers=1)\n"
    )
    cache = tmp_path / "cache"
    process = subprocess.Popen([sys.executable, script, lavdf, cache], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline().strip() not in ("6", ""):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    (journal,) = cache.glob("folder/*.decoding/journal.jsonl")
    assert [entry.task for entry in read_done(journal)] == list(range(6))
    with journal.open("a") as stream:
        stream.write('{"task": 6, "rows": [{"row": 2, "fa')  # a line that was being written
    seen: list[int] = []
    sets = SOURCE.prepare(settings(lavdf), cache, lambda done, total: seen.append(done), workers=1)
    assert seen[0] == 6
    assert seen[-1] == 12
    whole = SOURCE.prepare(settings(lavdf), tmp_path / "other", workers=1)
    assert {name: split.fingerprint for name, split in sets.items()} == {name: split.fingerprint for name, split in whole.items()}


def test_rows_that_were_lost_with_the_power_are_decoded_again(lavdf: Path, tmp_path: Path, monkeypatch) -> None:
    from paretolens.data import folder

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("paretolens.data.pipeline.finish.finish_splits", stop)
        with pytest.raises(KeyboardInterrupt):
            folder.decoded_folder(settings(lavdf), tmp_path, workers=1)
    (rows,) = tmp_path.glob("folder/*.decoding/train/input_video.npy")
    array = np.load(rows, mmap_mode="r+")
    array[1] = 0
    array.flush()
    seen: list[int] = []
    sets = SOURCE.prepare(settings(lavdf), tmp_path, lambda done, total: seen.append(done), workers=1)
    assert seen == [11, 12]
    assert sets["train"].arrays["video"][1].any()


def test_sets_that_are_read_evenly_keep_their_place(tmp_path: Path) -> None:
    boxes = {"crop": Crop.BOXES, "boxes": tmp_path / "boxes.json"}
    evenly: list[dict[str, object]] = [{}, {"take": Take.PICTURES}, {"take": Take.PICTURES, "select": Select.MOTION}]
    parts: list[dict[str, object]] = [boxes, {"take": Take.PICTURES} | boxes]
    chosen: list[dict[str, object]] = [{"select": Select.MOTION}, {"select": Select.MOTION} | boxes]
    for version, changes in ((1, evenly), (2, parts), (3, chosen)):
        assert {settings(tmp_path, **change).decoding()["version"] for change in changes} == {version}


def test_settings_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="crop boxes and the file boxes belong together"):
        FolderSettings(path=tmp_path, boxes=tmp_path / "boxes.json")
    with pytest.raises(ConfigurationError, match="windows are for clips"):
        FolderSettings(path=tmp_path, take=Take.PICTURES, windows=2)


def test_too_many_bad_files_stop_the_run_and_are_listed(lavdf: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(lavdf, root)
    (root / "train" / "000001.mp4").write_bytes(b"not a video")
    (root / "dev" / "000000.mp4").unlink()
    for _ in range(4):  # what is refused stays refused
        with pytest.raises(DataError, match=r"at most 5\.0% of the files may be unreadable .* 2 of the first 6 are"):
            SOURCE.prepare(settings(root), tmp_path / "cache", workers=1)
    (listed,) = (tmp_path / "cache" / "folder").glob("*.skipped.csv")
    rows = list(csv.DictReader(listed.open(encoding="utf-8")))
    assert [row["file"] for row in rows] == ["train/000001.mp4", "dev/000000.mp4"]
    assert "does not exist" in rows[1]["reason"]
    allowed = SOURCE.prepare(settings(root, max_skipped=0.2), tmp_path / "cache", workers=1)
    assert {split: len(samples) for split, samples in allowed.items()} == {"train": 3, "val": 3, "test": 4}
    folder = allowed["train"].folder
    assert folder is not None
    assert allowed["train"].ids == ("train/train/000000.mp4", "train/train/000002.mp4", "train/train/000003.mp4")
    assert len(list(csv.DictReader((folder.parent / "skipped.csv").open(encoding="utf-8")))) == 2
    assert json.loads((folder.parent / "about.json").read_text())["skipped"] == 2
    assert told(folder.parent)[-1] == f"2 files could not be read and stand in {folder.parent / 'skipped.csv'}"
    assert told(tmp_path) == ()
    whole = SOURCE.prepare(settings(lavdf), tmp_path / "cache", workers=1)
    np.testing.assert_array_equal(allowed["train"].arrays["video"][1], whole["train"].arrays["video"][2])


def test_a_split_that_is_left_without_a_class_is_named(lavdf: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(lavdf, root)
    for number in (2, 3):
        (root / "dev" / f"00000{number}.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="val has no fake one once the files are read"):
        SOURCE.prepare(settings(root, max_skipped=1.0), tmp_path / "cache", workers=1)


def test_the_size_follows_what_is_taken(lavdf: Path) -> None:
    wanted = settings(lavdf)
    assert replace(wanted, size=None).pixels == 64
    assert replace(wanted, size=None, take=Take.PICTURES).pixels == 128


def test_files_that_were_lost_with_their_process_are_tried_again(
    lavdf: Path, sets: dict[str, SampleSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paretolens.data.pipeline import build

    with monkeypatch.context() as broken:  # no process can be started
        broken.setattr(build, "each_batch", lambda make, works, workers, *, crashed: map(crashed, works))
        with pytest.raises(DataError, match="ended the process that decoded it"):
            SOURCE.prepare(settings(lavdf), tmp_path, workers=1)
    again = SOURCE.prepare(settings(lavdf), tmp_path, workers=1)
    assert again["train"].fingerprint == sets["train"].fingerprint
    assert again["test"].fingerprint == sets["test"].fingerprint


def test_a_file_for_which_memory_ran_out_is_tried_again_alone(
    lavdf: Path, sets: dict[str, SampleSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paretolens.data.pipeline import work

    def starved(item, decoder):
        raise MemoryError

    monkeypatch.setattr(work, "samples_of", starved)  # in this process alone
    again = SOURCE.prepare(settings(lavdf, max_skipped=1.0), tmp_path, workers=1)
    assert {split: samples.fingerprint for split, samples in again.items()} == {
        split: samples.fingerprint for split, samples in sets.items()
    }


def test_relative_paths_hold_in_every_folder(lavdf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paretolens.search.config import load_config

    monkeypatch.chdir(lavdf.parent)
    config = load_config(preset="default", file=None, assignments=["data.source=folder", f"data.path={lavdf.name}"], flags={})
    monkeypatch.chdir(tmp_path)
    assert config.data["path"] == str(lavdf)
    assert config.make_data_settings().path == lavdf
