from pathlib import Path

import pytest

from paretolens.data.readers.registry import READERS, expected_trees, find_reader, read_listing
from paretolens.errors import DataError


def test_a_folder_that_fits_nothing_shows_every_layout(tree) -> None:
    folder = tree(["holiday/one.mp4", "notes.txt"])
    with pytest.raises(DataError) as caught:
        find_reader(folder)
    told = str(caught.value)
    assert "it holds holiday/, notes.txt" in told
    assert all(f"{reader.name}: {reader.shape}" in told for reader in READERS.values())


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it holds nothing"):
        find_reader(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone does not exist"):
        read_listing(tmp_path / "gone")


def test_a_layout_can_be_named_and_must_be_known(tree) -> None:
    folder = tree(["real/a.mp4", "fake/b.mp4"])
    assert find_reader(folder, "manifest").name == "manifest"
    with pytest.raises(DataError, match=r"data\.layout is lavfd: allowed are auto, lavdf"):
        find_reader(folder, "lavfd")


def test_a_manifest_goes_before_folders_that_would_fit(tree) -> None:
    folder = tree(["real/a.mp4", "fake/b.mp4"], manifest_dot_csv="path,label\nreal/a.mp4,0\n")
    assert find_reader(folder).name == "manifest"


def test_a_layout_without_files_is_refused(tree) -> None:
    with pytest.raises(DataError, match="holds no video or picture where classfolders has them"):
        read_listing(tree(["real/readme.txt", "fake/readme.txt"]))


def test_every_tree_is_shown() -> None:
    shown = expected_trees()
    assert all(reader.title in shown and reader.tree in shown for reader in READERS.values())
