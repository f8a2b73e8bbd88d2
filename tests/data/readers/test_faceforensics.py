from pathlib import Path

import pytest

from paretolens.data.readers.hygiene import SplitSettings, organise
from paretolens.data.readers.registry import read_listing
from paretolens.errors import DataError

NUMBERS = ("000", "003", "953", "974", "010", "011")


@pytest.fixture
def folder(tree) -> Path:
    files = [f"original_sequences/youtube/{level}/videos/{number}.mp4" for number in NUMBERS for level in ("c23", "c40")]
    for one, two in (("000", "003"), ("953", "974"), ("010", "011")):
        files += [f"manipulated_sequences/Deepfakes/c23/videos/{name}.mp4" for name in (f"{one}_{two}", f"{two}_{one}")]
    files += ["manipulated_sequences/Deepfakes/masks/videos/000_003.mp4"]
    return tree(
        files,
        splits__train_dot_json='[["000", "003"]]',
        splits__val_dot_json='[["953", "974"]]',
        splits__test_dot_json='[["010", "011"]]',
    )


def test_both_orders_and_both_originals_share_the_split(folder: Path) -> None:
    listing = read_listing(folder)
    assert listing.layout == "faceforensics"
    split = {Path(item.file).stem: item.split for item in listing.items if item.variant == "c23"}
    assert {split[name] for name in ("000", "003", "000_003", "003_000")} == {"train"}
    assert {split[name] for name in ("953", "974", "953_974", "974_953")} == {"val"}


def test_masks_belong_to_their_fake(folder: Path) -> None:
    masks = {item.file: item.mask for item in read_listing(folder).items if item.mask}
    mask = "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4"
    assert masks == {"manipulated_sequences/Deepfakes/c23/videos/000_003.mp4": mask}


def test_one_compression_is_taken_and_told(folder: Path) -> None:
    organised = organise(read_listing(folder), SplitSettings())
    assert {item.variant for item in organised.items} == {"c23"}
    assert any("compression c23 of c23, c40" in note for note in organised.notes)
    with pytest.raises(DataError, match=r"data\.variant is raw: the folder has c23, c40"):
        organise(read_listing(folder), SplitSettings(variant="raw"))


def test_without_lists_no_pair_is_torn_apart(folder: Path) -> None:
    for path in (folder / "splits").iterdir():
        path.unlink()
    organised = organise(read_listing(folder), SplitSettings(val_share=0.34, test_share=0.33))
    splits: dict[int, set[str | None]] = {}
    for item, group in zip(organised.items, organised.groups, strict=True):
        splits.setdefault(group, set()).add(item.split)
    assert len(splits) == 3
    assert sorted(split for found in splits.values() for split in found if split) == ["test", "train", "val"]


def test_actors_fakes_name_scene_and_target(tree) -> None:
    folder = tree(
        [
            "original_sequences/actors/c23/videos/01__outside_talking.mp4",
            "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__outside_talking__YVGY8LOK.mp4",
        ]
    )
    real, fake = read_listing(folder).items
    assert real.originals == fake.originals == ("01__outside_talking",)
    assert real.identity == fake.identity == "01"
    assert fake.donors == ("02",)


def test_extracted_frames_are_pictures_of_their_video(tree) -> None:
    folder = tree(
        [
            "original_sequences/youtube/c23/frames/000/0001.png",
            "manipulated_sequences/FaceSwap/c23/frames/000_003/0001.png",
        ]
    )
    real, fake = read_listing(folder).items
    assert (real.video, fake.video) == ("youtube/000", "FaceSwap/000_003")
    assert fake.originals == ("000", "003")


def test_a_list_that_holds_no_pairs_is_named(folder: Path) -> None:
    (folder / "splits" / "train.json").write_text('["000"]')
    with pytest.raises(DataError, match=r"train\.json must be a FaceForensics"):
        read_listing(folder)
