"""Folders named after classes, however deep: what WildRF, ForenSynths and plain class folders have in common."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from paretolens.data.readers.listing import REAL, Item, Listing, Media, files_below, media_of, walk

__all__ = ["SPLITS", "class_folders", "class_listing", "has_each", "named_listing"]

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
"""Folder → split."""
FRAMES = "pictures of one folder are kept together, as frames of one video; where they are none, write a manifest.csv"
DEPTH = 4
"""Levels of folders above a class folder: split, platform or generator, object class, class."""


def class_folders(folder: Path, names: Mapping[str, bool]) -> Iterator[tuple[Path, bool]]:
    """Folders with one of the names (any case) up to four levels down, and whether they hold fakes; no class lies in another."""
    for place, folders, _ in walk(folder):
        depth = len(place.relative_to(folder).parts)
        classes = [name for name in folders if name.lower() in names]
        yield from ((place / name, names[name.lower()]) for name in classes)
        folders[:] = [name for name in folders if name not in classes] if depth + 1 < DEPTH else []


def class_listing(folder: Path, names: Mapping[str, bool], layout: str) -> Listing:
    """Items of all class folders; folders between split and class, or else those below the class, name the kind of the fakes.

    Where real pictures, too, lie in folders below their class, each of these holds the frames of one video, which stay together,
    and with those of a video of the same name: real/000/1.png, fake/faceswap/000/1.png.
    """
    found = [(place, fake, list(files_below(place, folder))) for place, fake in class_folders(folder, names)]
    frames = any(not fake and _nested(folder, place, files) for place, fake, files in found)
    items = tuple(item for place, fake, files in found for item in _items(folder, place, files, fake=fake, frames=frames))
    kinds = not frames and any(fake and _nested(folder, place, files) for place, fake, files in found)
    notes = [FRAMES] * frames
    if kinds and any(item.split is None for item in items):
        notes.append("folders of fake pictures are taken for kinds; where each holds one video, write a manifest.csv with group")
    return Listing(root=folder, layout=layout, items=items, notes=tuple(notes))


def has_each(folder: Path, classes: tuple[str, ...]) -> bool:
    """Whether there is a folder for each of these classes (any case)."""
    if not folder.is_dir():
        return False
    found = {place.name.lower() for place, _ in class_folders(folder, {name.lower(): name != REAL for name in classes})}
    return found == {name.lower() for name in classes}


def named_listing(folder: Path, classes: tuple[str, ...], layout: str) -> Listing:
    """Items of the folders that are named after classes; the class is their kind. Without `real` nothing is said of manipulation.

    Folders below a class folder hold the frames of one video each, which stay together.
    """
    names = {name.lower(): name for name in classes}
    found = class_folders(folder, {lower: name != REAL for lower, name in names.items()})
    listed = [(place, fake, list(files_below(place, folder))) for place, fake in found]
    frames = any(_nested(folder, place, files) for place, _, files in listed)
    items = tuple(
        replace(item, kind=names[place.name.lower()], fake_picture=fake if REAL in classes else None)
        for place, fake, files in listed
        for item in _items(folder, place, files, fake=fake, frames=frames)
    )
    known = {item.file for item in items}
    left = [file for file in files_below(folder, folder) if file not in known]
    notes = (FRAMES,) * frames
    if left:
        notes += (f"{len(left)} files lie in no folder of a class, for instance {left[0]}: left out",)
    return Listing(root=folder, layout=layout, items=items, notes=notes)


def _nested(folder: Path, place: Path, files: list[str]) -> bool:
    """Whether pictures lie in folders below their class."""
    return any(media_of(file) is Media.PICTURE and (folder / file).parent != place for file in files)


def _items(folder: Path, place: Path, files: list[str], *, fake: bool, frames: bool) -> Iterator[Item]:
    between = list(place.relative_to(folder).parts[:-1])
    named = next((part for part in between if part.lower() in SPLITS), None)
    split = SPLITS[named.lower()] if named else None
    if named:
        between.remove(named)
    above = "/".join(between)
    for file in files:
        below = (folder / file).relative_to(place).parts[:-1]
        frame = frames and bool(below) and media_of(file) is Media.PICTURE
        kind = above or "/".join(below[:-1] if frame else below) or "fake"
        yield Item(
            file=file,
            fake=fake,
            kind=kind if fake else REAL,
            split=split,
            originals=(f"{split or ''}/{below[-1]}",) if frame else (),
            video=str(PurePosixPath(file).parent) if frame else "",
            fake_picture=fake,
        )
