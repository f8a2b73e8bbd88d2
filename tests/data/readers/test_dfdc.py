import json
from pathlib import Path

import pytest

from paretolens.data.readers.registry import read_listing
from paretolens.errors import DataError

PART = {
    "owxbbpjpch.mp4": {"label": "FAKE", "split": "train", "original": "wynotylpnm.mp4"},
    "wynotylpnm.mp4": {"label": "REAL", "split": "train"},
}


@pytest.fixture
def folder(tree) -> Path:
    other = {"aaaaaaaaaa.mp4": {"label": "FAKE", "split": "train", "original": "wynotylpnm.mp4"}}
    return tree(
        ["dfdc_train_part_0/owxbbpjpch.mp4", "test/x.mp4"],
        dfdc_train_part_0__metadata_dot_json=json.dumps(PART),
        dfdc_train_part_10__metadata_dot_json=json.dumps(other),
        test__labels_dot_csv="filename,label\nx.mp4,1\ny.mp4,0\n",
    )


def test_parts_and_the_test_list_are_read(folder: Path) -> None:
    listing = read_listing(folder)
    assert listing.layout == "dfdc"
    assert [item.file for item in listing.items] == [
        "dfdc_train_part_0/owxbbpjpch.mp4",
        "dfdc_train_part_0/wynotylpnm.mp4",
        "dfdc_train_part_10/aaaaaaaaaa.mp4",
        "test/x.mp4",
        "test/y.mp4",
    ]
    assert [item.fake for item in listing.items] == [True, False, True, True, False]
    assert [item.split for item in listing.items] == [None, None, None, "test", "test"]  # their "train" is no split


def test_fakes_share_the_family_of_their_original(folder: Path) -> None:
    assert {item.family for item in read_listing(folder).items[:3]} == {("wynotylpnm.mp4",)}


def test_one_part_alone_is_enough(folder: Path) -> None:
    assert len(read_listing(folder / "dfdc_train_part_0").items) == 2


@pytest.mark.parametrize("label", ["MAYBE", None])
def test_an_unknown_label_is_named(tree, label: str | None) -> None:
    folder = tree(metadata_dot_json=json.dumps(PART | {"odd.mp4": {"label": label}}))
    with pytest.raises(DataError, match=r"odd\.mp4 has no label REAL or FAKE"):
        read_listing(folder)


def test_a_bad_line_of_the_test_list_is_named(folder: Path) -> None:
    (folder / "test" / "labels.csv").write_text("filename,label\nx.mp4,7\n")
    with pytest.raises(DataError, match=r"labels\.csv .*line 2"):
        read_listing(folder)
