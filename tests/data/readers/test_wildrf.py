from paretolens.data.readers.registry import read_listing


def test_platforms_are_kinds_and_odd_extensions_are_pictures(tree) -> None:
    folder = tree(
        [
            "train/0_real/a.jpg", "train/1_fake/b.webp", "val/0_real/c.png", "val/1_fake/d.jfif",
            "test/reddit/0_real/e.jpeg", "test/reddit/1_fake/f.WEBP", "test/twitter/1_fake/g.png", "train/1_fake/notes.txt",
        ]
    )  # fmt: skip
    listing = read_listing(folder)
    assert listing.layout == "wildrf"
    assert listing.media == "picture"
    found = {item.file: (item.split, item.kind) for item in listing.items}
    assert found["train/1_fake/b.webp"] == ("train", "fake")
    assert found["val/1_fake/d.jfif"] == ("val", "fake")
    assert found["test/reddit/1_fake/f.WEBP"] == ("test", "reddit")
    assert found["test/twitter/1_fake/g.png"] == ("test", "twitter")
    assert found["test/reddit/0_real/e.jpeg"] == ("test", "real")
    assert "train/1_fake/notes.txt" not in found


def test_forensynths_has_objects_below_generators(tree) -> None:
    folder = tree(
        ["train/cat/0_real/1.png", "train/cat/1_fake/2.png", "test/progan/cat/0_real/3.png", "test/progan/cat/1_fake/4.png"]
    )
    kinds = {item.file: item.kind for item in read_listing(folder).items}
    assert kinds["test/progan/cat/1_fake/4.png"] == "progan/cat"
    assert kinds["train/cat/1_fake/2.png"] == "cat"
