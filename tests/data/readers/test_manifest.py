from pathlib import Path

import pytest

from paretolens.data.readers.registry import read_listing
from paretolens.errors import DataError


def test_all_columns_are_taken(tree) -> None:
    text = (
        "Label,Path,split,kind,group,identity,start,end,mask,fake_sound\n"
        "0,a.mp4,train,,clip 1,Ann,,,,\n"
        "FAKE,./b.mp4,val,lips,clip 1,Ann,0.5,1.25,masks/b.png,1\n"
    )
    real, fake = read_listing(tree(manifest_dot_csv=text)).items
    assert (real.fake, real.kind, real.family, real.identity) == (False, "real", ("clip 1",), "Ann")
    assert (fake.file, fake.fake, fake.kind, fake.split) == ("b.mp4", True, "lips", "val")
    assert (fake.periods, fake.mask, fake.fake_sound, fake.fake_picture) == (((0.5, 1.25),), "masks/b.png", True, None)


def test_the_list_of_aware_net_is_one(tree) -> None:
    listing = read_listing(
        tree(manifest_dot_csv="image_path,label,dataset,split\nx/1.jpg,1,celebdf,train\nx/2.jpg,0,celebdf,test\n")
    )
    assert [(item.file, item.kind, item.split) for item in listing.items] == [
        ("x/1.jpg", "celebdf", "train"),
        ("x/2.jpg", "real", "test"),
    ]


def test_a_list_of_another_name_is_named_by_the_path(tree) -> None:
    folder = tree(mine_dot_csv="file,label\na.mp4,1\n")
    listing = read_listing(folder / "mine.csv")
    assert (listing.layout, listing.root) == ("manifest", folder)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a.mp4,2,train", "line 3 has no path or no label"),
        (",1,train", "line 3 has no path or no label"),
        ("a.mp4,1,training set", "line 3 has split 'training set'"),
        ("a.mp4,1", "line 3 has 2 of 3 columns"),
        ("b.mp4,1,train", r"every file must be listed once, b\.mp4"),
    ],
)
def test_a_bad_row_is_named(tree, row: str, told: str) -> None:
    folder = tree(manifest_dot_csv=f"path,label,split\nb.mp4,0,train\n{row}\n")
    with pytest.raises(DataError, match=told):
        read_listing(folder)


def test_a_period_that_ends_before_it_starts_is_refused(tree) -> None:
    folder = tree(manifest_dot_csv="path,label,start,end\na.mp4,1,2,1\n")
    with pytest.raises(DataError, match="line 2 has a period from 2 to 1 s"):
        read_listing(folder)


def test_a_list_that_is_no_text_is_named(tree) -> None:
    folder: Path = tree()
    (folder / "manifest.csv").write_bytes(b"path,label\n\xff\xfe,1\n")
    with pytest.raises(DataError, match=r"manifest\.csv .*no CSV in UTF-8"):
        read_listing(folder)


def test_a_header_in_quotation_marks_is_read(tree) -> None:
    listing = read_listing(tree(manifest_dot_csv='"","path","label"\n"1","a, b.mp4","1"\n'))
    assert [(item.file, item.fake) for item in listing.items] == [("a, b.mp4", True)]


@pytest.mark.parametrize("head", ["path;label", "path,verdict", "name,label", ""])
def test_a_manifest_without_its_columns_is_named_with_its_first_line(tree, head: str) -> None:
    folder = tree(manifest_dot_csv=f"{head}\na.mp4,1\n")
    for path in (folder, folder / "manifest.csv"):
        with pytest.raises(DataError, match=f"manifest.csv .*its first line is '{head}'"):
            read_listing(path)


def test_a_manifest_in_utf_16_is_refused(tree) -> None:
    folder: Path = tree()
    (folder / "manifest.csv").write_text("path,label\r\na.mp4,1\r\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"manifest\.csv .*its first line is"):
        read_listing(folder)


def test_files_elsewhere_are_named_by_absolute_paths(tree, tmp_path: Path) -> None:
    folder = tree(["elsewhere/a.png", "set/b.png", "set/c.png"]) / "set"
    rows = [f"{tmp_path}/elsewhere/a.png,0", f"{folder}/b.png,1", "/c.png,1", "/gone/d.png,1"]
    (folder / "manifest.csv").write_text("\n".join(["path,label", *rows]))
    assert [item.file for item in read_listing(folder).items] == [f"{tmp_path}/elsewhere/a.png", "b.png", "c.png", "gone/d.png"]


def test_a_split_of_unseen_kinds_stays(tree) -> None:
    assert [item.split for item in read_listing(tree(manifest_dot_csv="path,label,split\na.png,1,Unseen\n")).items] == ["unseen"]
