"""Which reader fits a folder."""

from pathlib import Path

from paretolens.data.readers import (
    celebdf,
    classfolders,
    deepfakebench,
    dfdc,
    faceforensics,
    fakeavceleb,
    lavdf,
    manifest,
    wildrf,
)
from paretolens.data.readers.classes import has_each
from paretolens.data.readers.listing import Listing, Reader
from paretolens.errors import DataError

__all__ = ["AUTO", "READERS", "expected_trees", "find_reader", "read_listing"]

AUTO = "auto"
_MODULES = (lavdf, dfdc, faceforensics, celebdf, fakeavceleb, wildrf, deepfakebench, classfolders, manifest)
READERS: dict[str, Reader] = {module.READER.name: module.READER for module in _MODULES}
"""Layout → its reader, in the order in which a tie is decided."""
FITS = 0.5


def find_reader(folder: Path, layout: str = AUTO, classes: tuple[str, ...] = ()) -> Reader:
    """The reader of a layout, or the one that fits a folder best.

    A folder with a class folder for each of `classes` is one of class folders, whatever else it looks like.

    Raises:
        DataError: the folder is missing, the layout is not known, or no reader fits; the last message shows every expected tree.
    """
    if not folder.exists():
        raise DataError(f"data.path must be a folder (or a list in it), {folder} does not exist: mend data.path")
    if layout != AUTO:
        if layout not in READERS:
            raise DataError(f"data.layout is {layout}: allowed are {AUTO}, {', '.join(READERS)}")
        return READERS[layout]
    if classes and has_each(folder, classes):
        return READERS[classfolders.READER.name]
    try:
        scores = {reader.name: reader.detect(folder) for reader in READERS.values()}
    except OSError as error:
        raise DataError(f"data.path must be readable, {folder} is not ({error.strerror}): mend its rights") from error
    best = max(scores, key=lambda name: scores[name])
    if scores[best] < FITS:
        raise DataError(
            f"data.path {folder} fits no known layout, it holds {_holds(folder)}; expected is one of "
            + "; ".join(f"{reader.name}: {reader.shape}" for reader in READERS.values())
            + " (`paretolens data layouts` shows them whole): mend data.path, name a data.layout, or write a manifest.csv"
        )
    return READERS[best]


def read_listing(folder: Path, layout: str = AUTO, classes: tuple[str, ...] = ()) -> Listing:
    """All items of a folder; with `classes`, layouts that can name them tell them apart, others by the kinds of their fakes.

    Raises:
        DataError: as `find_reader`; or a list of the layout can't be read; or there is no item, or two of one name.
    """
    reader = find_reader(folder, layout, classes)
    listing = reader.read_classes(folder, classes) if classes and reader.read_classes else reader.read(folder)
    if not listing.items:
        raise DataError(f"{folder} holds no video or picture where {reader.name} has them ({reader.shape}): mend data.path")
    seen: set[str] = set()
    for item in listing.items:
        if item.file in seen:
            raise DataError(f"every file must be listed once, {item.file} of {folder} is there twice: mend the list")
        seen.add(item.file)
    return listing


def expected_trees() -> str:
    """Every layout with the folders and files that it expects."""
    return "\n\n".join(f"{reader.name}: {reader.title}\n{reader.tree}" for reader in READERS.values())


def _holds(folder: Path) -> str:
    if folder.is_file():
        return "no folder but a file"
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "") if names else "nothing"
