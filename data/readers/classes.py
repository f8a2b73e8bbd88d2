"""Folders named after classes, however deep: what WildRF, ForenSynths and plain class folders have in common."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from paretolens.data.readers.listing import REAL, Item, files_below

__all__ = ["SPLITS", "class_folders", "class_items"]

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
"""Folder → split."""
DEPTH = 4
"""Levels of folders above a class folder: split, platform or generator, object class, class."""


def class_folders(folder: Path, names: Mapping[str, bool]) -> Iterator[tuple[Path, bool]]:
    """Folders with one of the names (any case) up to four levels down, and whether they hold fakes; no class lies in another."""
    for place, folders, _ in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        classes = [name for name in folders if name.lower() in names]
        yield from ((Path(place) / name, names[name.lower()]) for name in sorted(classes))
        others = [name for name in folders if name not in classes and not name.startswith(".")]
        folders[:] = sorted(others) if depth + 1 < DEPTH else []


def class_items(folder: Path, names: Mapping[str, bool]) -> Iterator[Item]:
    """Items of all class folders; folders between split and class, or else those below the class, name the kind of the fakes."""
    for place, fake in class_folders(folder, names):
        between = list(place.relative_to(folder).parts[:-1])
        split = SPLITS.get(between[0].lower()) if between else None
        above = "/".join(between[1:] if split else between)
        for file in files_below(place, folder):
            kind = above or "/".join((folder / file).relative_to(place).parts[:-1]) or "fake"
            yield Item(
                file=file,
                fake=fake,
                kind=kind if fake else REAL,
                split=split,
                fake_picture=fake,
            )
