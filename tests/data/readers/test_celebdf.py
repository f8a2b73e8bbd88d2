from pathlib import Path

import pytest

from paretolens.data.readers.hygiene import Leak, SplitSettings, organise
from paretolens.data.readers.registry import read_listing
from paretolens.errors import DataError

FILES = [
    "Celeb-real/id0_0000.mp4", "Celeb-real/id1_0001.mp4", "Celeb-real/id2_0002.mp4", "Celeb-real/id3_0003.mp4",
    "YouTube-real/00170.mp4", "Celeb-synthesis/id0_id16_0000.mp4", "Celeb-synthesis/id1_id17_0001.mp4",
    "Celeb-synthesis/id2_id18_0002.mp4", "Celeb-synthesis/id3_id9_0003.mp4",
]  # fmt: skip


@pytest.fixture
def folder(tree) -> Path:
    lines = "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id3_id9_0003.mp4\n1 Celeb-real/id3_0003.mp4\n"
    return tree(FILES, List_of_testing_videos_dot_txt=lines)


def test_labels_are_the_folders_although_the_list_says_1_for_real(folder: Path) -> None:
    listing = read_listing(folder)
    assert listing.layout == "celebdf"
    tested = {item.file: item.fake for item in listing.items if item.split == "test"}
    assert tested == {
        "YouTube-real/00170.mp4": False,
        "Celeb-synthesis/id3_id9_0003.mp4": True,
        "Celeb-real/id3_0003.mp4": False,
    }


def test_a_fake_belongs_to_the_recording_and_person_it_is_made_of(folder: Path) -> None:
    items = {item.file: item for item in read_listing(folder).items}
    fake = items["Celeb-synthesis/id0_id16_0000.mp4"]
    assert fake.family == items["Celeb-real/id0_0000.mp4"].family == ("id0_0000",)
    assert fake.identity == "id0"


def test_a_person_in_train_and_test_is_refused_or_dropped(folder: Path, tree) -> None:
    tree(["Celeb-real/id3_0009.mp4"])
    listing = read_listing(folder)
    with pytest.raises(DataError, match=r"no person .*id3_0009\.mp4 \(train\) with .*0003\.mp4 \(test\)"):
        organise(listing, SplitSettings(val_share=0.4))
    kept = organise(listing, SplitSettings(val_share=0.4, persons=Leak.DROP))
    assert "Celeb-real/id3_0009.mp4" not in {item.file for item in kept.items}
    told = organise(listing, SplitSettings(val_share=0.4, persons=Leak.REPORT))
    assert any("share a person" in note for note in told.notes)
    assert "Celeb-real/id3_0009.mp4" in {item.file for item in told.items}


def test_a_line_without_label_is_named(folder: Path) -> None:
    (folder / "List_of_testing_videos.txt").write_text("1 YouTube-real/00170.mp4\nYouTube-real/00171.mp4\n")
    with pytest.raises(DataError, match=r"List_of_testing_videos\.txt .*line 2"):
        read_listing(folder)


def test_a_face_of_somebody_in_test_leaves_train(tree) -> None:
    files = [f"Celeb-real/id{who}_0000.mp4" for who in range(8)] + [f"Celeb-synthesis/id{who}_id9_0000.mp4" for who in (3, 4, 5)]
    stray = ["Celeb-synthesis/id0_id3_0000.mp4", "Celeb-synthesis/id2_id3_0000.mp4"]
    plain = ["YouTube-real/00170.mp4", "YouTube-real/00171.mp4"]
    lines = "1 Celeb-real/id3_0000.mp4\n0 Celeb-synthesis/id3_id9_0000.mp4\n"
    listing = read_listing(tree(files + stray + plain, List_of_testing_videos_dot_txt=lines))
    with pytest.raises(DataError, match=r"no person .*id0_id3_0000\.mp4 \(train\) with .*\(test\)"):
        organise(listing, SplitSettings(val_share=0.3))
    told = organise(listing, SplitSettings(val_share=0.3, persons=Leak.REPORT))
    assert any("share a person" in note for note in told.notes)
    items = {item.file: item for item in listing.items}
    assert items[stray[0]].persons == ("id0", "id3")
