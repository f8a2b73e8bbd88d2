"""Celeb-DF v2: two folders of real videos, one of fakes, and the published list of test videos.

The list's first column is 1 for *real*, against the custom of the field; labels are taken from the folders, and the list only
tells which videos are for testing.
"""

import re
from pathlib import Path

from paretolens.data.readers.listing import REAL, Item, Listing, Reader, files_below
from paretolens.data.readers.tables import unreadable

__all__ = ["READER", "names_in"]

WANT = "Celeb-DF's list of test videos, lines such as '1 YouTube-real/00170.mp4'"
FOLDERS = {"Celeb-real": False, "YouTube-real": False, "Celeb-synthesis": True}
LIST = "List_of_testing_videos.txt"
TREE = """\
Celeb-DF-v2/
  Celeb-real/id0_0000.mp4 …
  YouTube-real/00000.mp4 …
  Celeb-synthesis/id0_id16_0009.mp4 …
  List_of_testing_videos.txt       (lines '1 YouTube-real/00170.mp4'; its 1 means real, labels are taken from the folders)"""


def detect(folder: Path) -> float:
    """Share of the three folders that are there."""
    return sum((folder / name).is_dir() for name in FOLDERS) / len(FOLDERS)


def read(folder: Path) -> Listing:
    """Items by folder."""
    path = folder / LIST
    tested = set(_tested(path)) if path.is_file() else set()
    items = [
        _item(file, fake=fake, split="test" if file in tested else "train" if tested else None)
        for name, fake in FOLDERS.items()
        for file in files_below(folder / name, folder)
    ]
    absent = len(tested - {item.file for item in items})
    notes: tuple[str, ...] = () if tested else (f"no {LIST}: splits are made by recording",)
    notes += (f"{absent} videos of {LIST} are not in the folders",) if absent else ()
    return Listing(root=folder, layout="celebdf", items=tuple(items), notes=notes)


def names_in(name: str) -> tuple[str, str | None, tuple[str, ...]]:
    """(recording, person, donors) of a video's name: id0_id16_0009 is id0_0009 with the face of id16."""
    found = re.fullmatch(r"(id\d+)_(?:(id\d+)_)?(\d+)", name)
    return (f"{found[1]}_{found[3]}", found[1], (found[2],) if found[2] else ()) if found else (name, None, ())


def _tested(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error, want=WANT) from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        mark, _, file = line.strip().partition(" ")
        if mark not in ("0", "1") or "/" not in file:
            raise unreadable(path, f"line {number} is {line.strip()!r}", want=WANT)
        found.append(file.strip())
    return found


def _item(file: str, *, fake: bool, split: str | None) -> Item:
    recording, person, donors = names_in(Path(file).stem)
    return Item(
        file=file,
        fake=fake,
        kind="Celeb-synthesis" if fake else REAL,
        split=split,
        originals=(recording if person else file,),
        identity=person,
        donors=donors,
        fake_picture=fake,
    )


READER = Reader(
    name="celebdf",
    title="Celeb-DF v2",
    shape="Celeb-real/, YouTube-real/, Celeb-synthesis/, List_of_testing_videos.txt",
    tree=TREE,
    detect=detect,
    read=read,
)
