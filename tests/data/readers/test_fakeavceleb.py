from pathlib import Path

import pytest

from paretolens.data.readers.registry import read_listing
from paretolens.errors import DataError

HEADER = "source,target1,target2,method,category,type,race,gender,path,\n"
ROWS = (
    "id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,FakeAVCeleb/RealVideo-RealAudio/African/men/id00076\n"
    "id00076,id00166,-,wav2lip,D,FakeVideo-FakeAudio,African,men,a_wav.mp4,FakeAVCeleb/FakeVideo-FakeAudio/African/men/id00076\n"
)
FILES = [
    "RealVideo-RealAudio/African/men/id00076/00109.mp4",
    "FakeVideo-FakeAudio/African/men/id00076/a_wav.mp4",
    "RealVideo-FakeAudio/Asian (East)/women/id00099/b.mp4",
]


@pytest.fixture
def folder(tree) -> Path:
    return tree(FILES, meta_data_dot_csv=HEADER + ROWS)


def test_the_odd_header_gives_methods(folder: Path) -> None:
    listing = read_listing(folder)
    assert listing.layout == "fakeavceleb"
    kinds = {item.file: (item.kind, item.fake_picture, item.fake_sound) for item in listing.items}
    assert kinds == {
        FILES[0]: ("real", False, False),
        FILES[1]: ("wav2lip", True, True),
        FILES[2]: ("RealVideo-FakeAudio", False, True),
    }
    assert {item.identity for item in listing.items} == {"id00076", "id00099"}


def test_without_the_table_the_folders_say_it(folder: Path) -> None:
    (folder / "meta_data.csv").unlink()
    assert [item.kind for item in read_listing(folder).items] == ["real", "RealVideo-FakeAudio", "FakeVideo-FakeAudio"]


def test_videos_that_only_the_table_has_are_told(folder: Path) -> None:
    (folder / FILES[1]).unlink()
    assert read_listing(folder).notes == ("1 videos of meta_data.csv are not in the folders",)


def test_a_short_row_is_named(folder: Path) -> None:
    (folder / "meta_data.csv").write_text(HEADER + "id00076,-,-\n")
    with pytest.raises(DataError, match=r"meta_data\.csv .*line 2 has 3 of 10 columns"):
        read_listing(folder)
