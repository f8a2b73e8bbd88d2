import json
from pathlib import Path

import pytest

from paretolens.data.readers.registry import read_listing
from paretolens.errors import DataError


def video(folder: str, label: str, *frames: str) -> dict[str, object]:
    return {"label": label, "frames": [f"{folder}\\{frame}.png" for frame in frames], "masks": []}


FAKE = "FaceForensics++\\manipulated_sequences\\Deepfakes\\c23\\frames\\000_003"
REAL = "FaceForensics++\\original_sequences\\youtube\\c23\\frames\\000"
MASK = FAKE.replace("c23\\frames", "masks")
FF = {
    "FaceForensics++": {
        "FF-DF": {"train": {"c23": {"000_003": video(FAKE, "FF-DF", "000", "012") | {"masks": [f"{MASK}\\012.png"]}}}},
        "FF-real": {
            "train": {"c23": {"000": video(REAL, "FF-real", "000")}, "c40": {"000": video(REAL + "x", "FF-real", "000")}}
        },
    }
}
CELEB = {
    "Celeb-DF-v2": {
        "CelebDFv2_real": {
            "train": {
                "id0_0000": video("C/id0_0000", "CelebDFv2_real", "1"),
                "id1_0001": video("C/id1_0001", "CelebDFv2_real", "1"),
            },
            "val": {"id1_0001": video("C/id1_0001", "CelebDFv2_real", "1")},
            "test": {"id1_0001": video("C/id1_0001", "CelebDFv2_real", "1")},
        },
        "CelebDFv2_fake": {"test": {"id1_id0_0001": video("C/id1_id0_0001", "CelebDFv2_fake", "1")}},
    }
}


@pytest.fixture
def folder(tree) -> Path:
    frames = [f"rgb/{path}/{name}.png".replace("\\", "/") for path, name in ((FAKE, "000"), (FAKE, "012"), (REAL, "000"))]
    return tree(frames, **{"dataset_json__FaceForensics_dot_json": json.dumps(FF)})


def test_frames_are_found_below_rgb_and_labels_end_in_real(folder: Path) -> None:
    listing = read_listing(folder)
    assert listing.layout == "deepfakebench"
    assert listing.root == folder / "rgb"
    first, second, real, other = listing.items
    assert (listing.root / first.file).is_file()
    assert [item.fake for item in listing.items] == [True, True, False, False]
    assert (first.kind, first.video) == ("FF-DF", "FaceForensics++/FF-DF/000_003")
    assert first.originals == ("FaceForensics++/000", "FaceForensics++/003")
    assert real.originals == ("FaceForensics++/000",)
    assert (first.mask, second.mask) == (None, MASK.replace("\\", "/") + "/012.png")
    assert (real.variant, other.variant) == ("c23", "c40")


def test_paths_of_another_machine_are_found_again(folder: Path) -> None:
    path = folder / "dataset_json" / "FaceForensics.json"
    path.write_text(path.read_text().replace('"FaceForensics++\\\\', '"/data/somebody/rgb/FaceForensics++\\\\'))
    listing = read_listing(folder)
    assert (listing.root / listing.items[0].file).is_file()


def test_videos_of_celeb_dfs_test_are_taken_out_of_train_and_val(tree) -> None:
    folder = tree(["C/id0_0000/1.png"], Celeb_dot_json=json.dumps(CELEB))
    listing = read_listing(folder)
    assert [(item.video.rpartition("/")[2], item.split) for item in listing.items] == [
        ("id0_0000", "train"),
        ("id1_0001", "test"),
        ("id1_id0_0001", "test"),
    ]
    assert listing.items[-1].persons == ("Celeb-DF-v2/id1", "Celeb-DF-v2/id0")
    assert listing.notes == ("Celeb.json: 2 frames of train and val left out, their videos are in test",)


def test_one_list_can_be_named(folder: Path, tree) -> None:
    tree(dataset_json__Celeb_dot_json=json.dumps(CELEB))
    assert len(read_listing(folder / "dataset_json" / "FaceForensics.json").items) == 4


def test_frames_that_are_nowhere_are_named(tree) -> None:
    folder = tree(FF_dot_json=json.dumps(FF))
    with pytest.raises(DataError, match=r"frames of a DeepfakeBench list must lie below .*000\.png does not"):
        read_listing(folder)


def test_lists_whose_paths_begin_differently_are_read_together(folder: Path, tree) -> None:
    path = folder / "dataset_json" / "FaceForensics.json"
    path.write_text(path.read_text().replace('"FaceForensics++\\\\', '"/data/somebody/rgb/FaceForensics++\\\\'))
    tree(["datasets/rgb/C/id0_0000/1.png"], dataset_json__Celeb_dot_json=json.dumps(CELEB))
    listing = read_listing(folder)
    assert listing.root == folder
    there = {item.file for item in listing.items if (folder / item.file).is_file()}
    assert "datasets/rgb/C/id0_0000/1.png" in there
    assert f"rgb/{FAKE}/012.png".replace("\\", "/") in there
    assert f"rgb/{MASK}/012.png".replace("\\", "/") in {item.mask for item in listing.items}


def test_a_compression_that_was_not_unpacked_does_not_hide_the_others(tree) -> None:
    both = {"raw": {"000": video("gone/000", "FF-real", "000")}, "c23": {"000": video(REAL, "FF-real", "000")}}
    folder = tree([f"rgb/{REAL}/000.png".replace("\\", "/")], FF_dot_json=json.dumps({"F": {"FF-real": {"train": both}}}))
    listing = read_listing(folder)
    assert [item.variant for item in listing.items if (listing.root / item.file).is_file()] == ["c23"]


def test_a_list_whose_frames_are_not_there_is_left_out_and_told(folder: Path, tree) -> None:
    tree(dataset_json__Celeb_dot_json=json.dumps(CELEB))
    listing = read_listing(folder)
    assert listing.notes == ("Celeb.json: none of its frames was found, the list is left out",)
    assert len(listing.items) == 4
