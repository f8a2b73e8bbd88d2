from collections import defaultdict

from paretolens.data.readers.hygiene import SplitSettings, organise
from paretolens.data.readers.registry import read_listing


def test_plain_folders_have_no_split_and_kinds_below(tree) -> None:
    listing = read_listing(tree(["Real/a.mp4", "fake/faceswap/b.mp4", "fake/c.mov", "fake/.hidden.mp4"]))
    assert listing.layout == "classfolders"
    assert [(item.file, item.kind, item.split) for item in listing.items] == [
        ("Real/a.mp4", "real", None),
        ("fake/c.mov", "fake", None),
        ("fake/faceswap/b.mp4", "faceswap", None),
    ]


def test_folders_of_splits_above_are_taken(tree) -> None:
    listing = read_listing(tree(["train/real/a.png", "train/fake/b.png", "Validation/real/c.png", "test/fake/gan/映像.png"]))
    assert {item.file: item.split for item in listing.items} == {
        "train/real/a.png": "train",
        "train/fake/b.png": "train",
        "Validation/real/c.png": "val",
        "test/fake/gan/映像.png": "test",
    }


def test_folders_of_splits_are_known_below_the_name_of_a_set(tree) -> None:
    files = [
        f"{name}/{split}/{label}/{name}.png" for name in ("A", "B") for split in ("train", "test") for label in ("real", "fake")
    ]
    listing = read_listing(tree(files))
    assert {(item.file.split("/")[1], item.split) for item in listing.items} == {("train", "train"), ("test", "test")}
    assert {item.kind for item in listing.items} == {"real", "A", "B"}


def test_frames_of_one_video_stay_in_one_split_and_one_group(tree) -> None:
    files = [f"{kind}/vid{video}/{frame:03d}.png" for kind in ("real", "fake/swap") for video in range(12) for frame in range(3)]
    listing = read_listing(tree(files))
    assert {item.kind for item in listing.items} == {"real", "swap"}
    assert any("frames of one video" in note for note in listing.notes)
    organised = organise(listing, SplitSettings(val_share=0.25, test_share=0.25))
    splits, groups = defaultdict(set), defaultdict(set)
    for item, group in zip(organised.items, organised.groups, strict=True):
        splits[item.file.split("/")[-2]].add(item.split)
        groups[item.video].add(group)
    assert len(splits) == 12
    assert all(len(found) == 1 for found in (*splits.values(), *groups.values()))


def test_frames_below_splits_are_no_kinds(tree) -> None:
    files = [f"{split}/{kind}/0{n}/1.png" for split in ("train", "val", "test") for kind in ("real", "fake") for n in range(2)]
    listing = read_listing(tree(files))
    assert {item.kind for item in listing.items} == {"real", "fake"}
    organised = organise(listing, SplitSettings())
    assert len(set(organised.groups)) == 6
    assert organised.items == listing.items


def test_folders_of_fakes_alone_are_kinds_and_that_is_told(tree) -> None:
    listing = read_listing(tree(["real/a.png", "fake/gan/b.png", "fake/diffusion/c.png"]))
    assert {item.kind for item in listing.items} == {"real", "gan", "diffusion"}
    assert any("taken for kinds" in note for note in listing.notes)
