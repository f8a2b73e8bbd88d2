import json
from pathlib import Path

import pytest

from paretolens.data.readers.registry import find_reader, read_listing
from paretolens.errors import DataError


def entry(file: str, periods: list[list[float]], original: str | None, *, picture: bool = False, sound: bool = False) -> dict:
    return {
        "file": file, "n_fakes": len(periods), "fake_periods": periods, "duration": 8.52, "original": original,
        "modify_video": picture, "modify_audio": sound, "split": file.split("/", maxsplit=1)[0],
        "video_frames": 213, "audio_channels": 1, "audio_frames": 136320,
    }  # fmt: skip


ENTRIES = [
    entry("train/000000.mp4", [], None),
    entry("train/000001.mp4", [[2.44, 3.88]], "train/000000.mp4", picture=True),
    entry("dev/000002.mp4", [[0.5, 1.0], [2, 3]], None, picture=True, sound=True),
    entry("test/000003.mp4", [[0, 1]], "test/000009.mp4", sound=True),
]


@pytest.fixture
def folder(tree) -> Path:
    return tree([str(entry["file"]) for entry in ENTRIES], metadata_dot_json=json.dumps(ENTRIES))


def test_every_field_is_taken(folder: Path) -> None:
    listing = read_listing(folder)
    assert listing.layout == "lavdf"
    real, fake, both, sound = listing.items
    assert [item.split for item in listing.items] == ["train", "train", "val", "test"]
    assert not real.fake
    assert real.kind == "real"
    assert real.originals == fake.originals == ("train/000000.mp4",)
    assert (fake.fake, fake.kind, fake.periods) == (True, "video", ((2.44, 3.88),))
    assert (both.kind, both.periods, both.originals) == ("video+audio", ((0.5, 1.0), (2.0, 3.0)), ("dev/000002.mp4",))
    assert (sound.kind, sound.fake_picture, sound.fake_sound) == ("audio", False, True)


def test_the_short_list_says_nothing_of_picture_and_sound(tree) -> None:
    dropped = ("modify_video", "modify_audio")
    short = [{key: value for key, value in entry.items() if key not in dropped} for entry in ENTRIES]
    listing = read_listing(tree(metadata_dot_min_dot_json=json.dumps(short)))
    assert [item.kind for item in listing.items] == ["real", "fake", "fake", "fake"]
    assert listing.items[1].fake_picture is None


@pytest.mark.parametrize(
    ("change", "told"),
    [({"split": "trian"}, "entry 2 has no usable 'trian'"), ({"n_fakes": None}, "entry 2"), ({"fake_periods": [[1]]}, "entry 2")],
)
def test_a_bad_entry_is_named(tree, change: dict[str, object], told: str) -> None:
    folder = tree(metadata_dot_json=json.dumps([ENTRIES[0], ENTRIES[1] | change]))
    with pytest.raises(DataError, match=told) as caught:
        read_listing(folder)
    assert "metadata.json" in str(caught.value)


def test_a_list_that_is_cut_off_is_named(tree) -> None:
    folder = tree(metadata_dot_json=json.dumps(ENTRIES)[:-30])
    assert find_reader(folder).name == "lavdf"
    with pytest.raises(DataError, match=r"metadata\.json must be LAV-DF's list .* no JSON"):
        read_listing(folder)
