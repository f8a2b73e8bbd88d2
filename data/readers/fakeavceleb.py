"""FakeAVCeleb v1.2: four folders by what is fake, and `meta_data.csv`.

The header of the table ends in a comma, so that its last column, the folder, has no name, while the column `path` holds the
file's name. Not every release has the table; the folders say the same.
"""

from pathlib import Path, PurePosixPath

from paretolens.data.readers.listing import REAL, Item, Listing, Reader, files_below, tidy
from paretolens.data.readers.tables import read_rows, unreadable

__all__ = ["READER"]

WANT = "FakeAVCeleb's table (source,target1,target2,method,category,type,race,gender,path,)"
TYPES = {
    "RealVideo-RealAudio": (False, False),
    "FakeVideo-RealAudio": (True, False),
    "RealVideo-FakeAudio": (False, True),
    "FakeVideo-FakeAudio": (True, True),
}
"""Folder → (picture fake, sound fake)."""
TREE = """\
FakeAVCeleb/
  RealVideo-RealAudio/African/men/id00076/00109.mp4 …
  FakeVideo-RealAudio/…, RealVideo-FakeAudio/…, FakeVideo-FakeAudio/…
  meta_data.csv            (source,target1,target2,method,category,type,race,gender,path,; optional)"""


def detect(folder: Path) -> float:
    """Share of the four folders that are there."""
    return sum((folder / name).is_dir() for name in TYPES) / len(TYPES)


def read(folder: Path) -> Listing:
    """Items by folder, with the method of the table; what the table lists but the folders don't hold is told in a note."""
    methods = _methods(folder / "meta_data.csv")
    items = [_item(file, *TYPES[name], methods) for name in TYPES for file in files_below(folder / name, folder)]
    absent = len(set(methods) - {item.file for item in items})
    notes = (f"{absent} videos of meta_data.csv are not in the folders",) if absent else ()
    return Listing(root=folder, layout="fakeavceleb", items=tuple(items), notes=notes)


def _methods(path: Path) -> dict[str, str]:
    """File → method, for instance wav2lip."""
    if not path.is_file():
        return {}
    found = {}
    for line, row in read_rows(path, want=WANT):
        place, name = tidy(row.get("", "")), tidy(row.get("path", ""))
        if not place or not name or row.get("type") not in TYPES:
            raise unreadable(path, f"line {line} has no type, path or folder", want=WANT)
        found[_within(place) + "/" + PurePosixPath(name).name] = row.get("method") or "fake"
    return found


def _within(place: str) -> str:
    """The folder of a row without what comes before its type, usually `FakeAVCeleb/`."""
    parts = PurePosixPath(place).parts
    start = next((i for i, part in enumerate(parts) if part in TYPES), 0)
    return "/".join(parts[start:])


def _item(file: str, picture: bool, sound: bool, methods: dict[str, str]) -> Item:
    parts = PurePosixPath(file).parts
    person = next((part for part in parts[1:-1] if part.startswith("id")), None)
    fake = picture or sound
    return Item(
        file=file,
        fake=fake,
        kind=methods.get(file, parts[0]) if fake else REAL,
        originals=(person,) if person else (),
        identity=person,
        fake_picture=picture,
        fake_sound=sound,
    )


READER = Reader(
    name="fakeavceleb",
    title="FakeAVCeleb",
    shape="RealVideo-RealAudio/, FakeVideo-FakeAudio/ …, meta_data.csv",
    tree=TREE,
    detect=detect,
    read=read,
)
