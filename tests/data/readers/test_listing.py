from pathlib import Path

from paretolens.data.readers.listing import files_below, walk
from paretolens.data.readers.registry import read_listing


def test_splits_that_lie_on_another_disk_are_read_through_their_links(tree, tmp_path: Path) -> None:
    tree([f"disk/{split}/{name}/{split}.png" for split in ("train", "val", "test") for name in ("0_real", "1_fake")])
    (tmp_path / "set").mkdir()
    for split in ("train", "val", "test"):
        (tmp_path / "set" / split).symlink_to(tmp_path / "disk" / split)
    listing = read_listing(tmp_path / "set")
    assert listing.layout == "wildrf"
    assert {(item.file, item.split) for item in listing.items} == {
        (f"{split}/{name}/{split}.png", split) for split in ("train", "val", "test") for name in ("0_real", "1_fake")
    }


def test_links_that_lead_back_are_not_followed(tree) -> None:
    folder = tree(["a/1.png", "a/b/2.png", ".hidden/3.png", "c/4.png"])
    (folder / "a" / "b" / "root").symlink_to(folder)
    (folder / "up").symlink_to(folder.parent)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "gone").symlink_to(folder / "nowhere")
    (folder / "c" / "a").symlink_to(folder / "a")
    assert list(files_below(folder, folder)) == ["a/1.png", "a/b/2.png", "c/4.png", "c/a/1.png", "c/a/b/2.png"]


def test_only_folders_that_are_left_in_the_list_are_gone_into(tree) -> None:
    folder = tree(["a/1.png", "b/2.png"])
    places = []
    for place, folders, _ in walk(folder):
        places.append(place.name)
        folders[:] = [name for name in folders if name != "a"]
    assert places == [folder.name, "b"]


def test_a_folder_that_is_missing_holds_nothing(tmp_path: Path) -> None:
    assert list(files_below(tmp_path / "gone", tmp_path)) == []
