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
