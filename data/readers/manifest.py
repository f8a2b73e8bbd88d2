"""A CSV manifest: one row per file, with as much about it as is known.

Columns (any order, any case): `path` (or file, filename, image_path, video_path) and `label` (0/1, real/fake, or the name of a
class where the settings name classes) are needed;
`split`, `kind` (or method, dataset), `group` (or original), `identity`, `video`, `start` and `end` (seconds), `mask`,
`fake_picture`, `fake_sound` may be there.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from paretolens.data.readers.classes import SPLITS as FOLDERS
from paretolens.data.readers.listing import REAL, Item, Listing, Reader, tidy
from paretolens.data.readers.tables import number, read_rows, unreadable

__all__ = ["READER"]

SPLITS = {**FOLDERS, "unseen": "unseen"}
WANT = "a manifest with the columns path and label (0, 1, real or fake)"
PATHS = ("path", "file", "filename", "image_path", "video_path")
KINDS = ("kind", "method", "manipulation", "dataset")
GROUPS = ("group", "original", "source")
LABELS = {"0": False, "real": False, "false": False, "1": True, "fake": True, "true": True, "0.0": False, "1.0": True}
SAID = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": None}
TREE = """\
anything/
  manifest.csv             (path,label[,split,kind,group,identity,video,start,end,mask]; another name: data.path = the file)
  …                        (paths are relative to the manifest's folder, or absolute)"""


def detect(folder: Path) -> float:
    """Whether the head of the manifest names a path and a label; what is called a manifest fits where nothing else does."""
    path = _list_of(folder)
    if path is None:
        return 0.0
    return 0.95 if _is_ours(_head(path)) else 0.5 if path == folder or path.name == "manifest.csv" else 0.0


def read(folder: Path) -> Listing:
    """Items in the order of the rows."""
    return read_classes(folder, ())


def read_classes(folder: Path, classes: tuple[str, ...]) -> Listing:
    """The same where a label may also be the name of a class."""
    path = _list_of(folder)
    if path is None:
        raise unreadable(folder / "manifest.csv", "it is not there", want=WANT)
    if not _is_ours(head := _head(path)):
        raise unreadable(path, f"its first line is {head[:80]!r} (columns are parted by commas)", want=WANT)
    items = tuple(_item(row, line, path, classes) for line, row in read_rows(path, want=WANT))
    return Listing(root=path.parent, layout="manifest", items=items)


def _list_of(folder: Path) -> Path | None:
    if folder.is_file():
        return folder if folder.suffix.lower() == ".csv" else None
    return next((path for name in ("manifest.csv", "metadata.csv") if (path := folder / name).is_file()), None)


def _head(path: Path) -> str:
    """The first line."""
    with path.open("rb") as stream:
        return next(iter(stream.readline(4096).decode("utf-8-sig", "replace").splitlines()), "")


def _is_ours(head: str) -> bool:
    """Whether a first line names a path and a label."""
    names = {name.strip().lower() for row in csv.reader([head]) for name in row}
    return "label" in names and not names.isdisjoint(PATHS)


def _item(row: Mapping[str, str], line: int, path: Path, classes: tuple[str, ...]) -> Item:
    file, said = _within(_first(row, PATHS), path.parent), row.get("label", "")
    named = said if said in classes else None
    label = named != REAL if named else LABELS.get(said.lower())
    if not file or label is None:
        want = f"{WANT[:-1]}, or one of {', '.join(classes)})" if classes else WANT
        raise unreadable(path, f"line {line} has no path or no label (label is {said!r})", want=want)
    split = row.get("split", "").lower()
    if split and split not in SPLITS:
        raise unreadable(path, f"line {line} has split {split!r} (allowed: train, val, test, unseen)", want=WANT)
    group = _first(row, GROUPS)
    return Item(
        file=file,
        fake=label,
        kind=(named or _first(row, KINDS) or "fake") if label else REAL,
        split=SPLITS[split] if split else None,
        originals=(group,) if group else (),
        identity=row.get("identity") or None,
        video=row.get("video", ""),
        fake_picture=_said(row, "fake_picture", line, path),
        fake_sound=_said(row, "fake_sound", line, path),
        periods=_period(row, line, path) if label else (),
        mask=_within(row["mask"], path.parent) if row.get("mask") else None,
    )


def _within(text: str, root: Path) -> str:
    """A row's path relative to the manifest's folder; an absolute one stays where its file lies elsewhere."""
    path = Path(text)
    if not path.is_absolute() or (root / tidy(text)).is_file() or not path.is_file():
        return tidy(text)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _first(row: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((row[name] for name in names if row.get(name)), "")


def _said(row: Mapping[str, str], name: str, line: int, path: Path) -> bool | None:
    text = row.get(name, "").lower()
    if text not in SAID:
        raise unreadable(path, f"line {line} has {name} {text!r} (allowed: 0, 1 or nothing)", want=WANT)
    return SAID[text]


def _period(row: Mapping[str, str], line: int, path: Path) -> tuple[tuple[float, float], ...]:
    if not row.get("start") and not row.get("end"):
        return ()
    first, last = (number(row.get(name, ""), path, line, want=WANT) for name in ("start", "end"))
    if not 0 <= first < last:
        raise unreadable(path, f"line {line} has a period from {first:g} to {last:g} s", want=WANT)
    return ((first, last),)


READER = Reader(
    name="manifest", title="CSV manifest", shape="manifest.csv with path,label", tree=TREE,
    detect=detect, read=read, read_classes=read_classes,
)  # fmt: skip
