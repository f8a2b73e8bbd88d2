"""What a reader says of a folder: its items, before anything is decoded."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from paretolens.models.signature import REAL

__all__ = ["PICTURES", "REAL", "VIDEOS", "Item", "Listing", "Media", "Reader", "files_below", "media_of", "tidy", "walk"]

VIDEOS = frozenset([".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp"])
"""Extensions that are listed as videos."""
PICTURES = frozenset([".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".bmp", ".tif", ".tiff"])
"""Extensions that are listed as pictures."""


class Media(StrEnum):
    """What the files of a data set are."""

    VIDEO = "video"
    PICTURE = "picture"


def media_of(name: str) -> Media | None:
    """What a file's extension says that it is; None for other files. Decoders look at the content."""
    suffix = PurePosixPath(name).suffix.lower()
    return Media.VIDEO if suffix in VIDEOS else Media.PICTURE if suffix in PICTURES else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One video or picture."""

    file: str
    """Path within the folder, with forward slashes; unique."""
    fake: bool
    """Whether anything of it is manipulated."""
    kind: str = REAL
    """`real`, or the kind of manipulation."""
    split: str | None = None
    """train, val, test or unseen; None where the layout doesn't say."""
    originals: tuple[str, ...] = ()
    """Names of the recordings that it is or is made of; items that share one stay in one split. Empty = itself alone."""
    identity: str | None = None
    """The person of the recording that was changed; None = unknown."""
    donors: tuple[str, ...] = ()
    """Further persons who are seen, for instance whose face was put in."""
    video: str = ""
    """The video that a picture was taken from; empty for videos and lone pictures."""
    variant: str = ""
    """Compression of a set that holds every video several times; empty where there is one."""
    fake_picture: bool | None = None
    """Whether the picture is manipulated; None = unknown."""
    fake_sound: bool | None = None
    """Whether the sound is manipulated; None = unknown."""
    periods: tuple[tuple[float, float], ...] = ()
    """Manipulated periods in seconds; empty = all of it, or unknown."""
    mask: str | None = None
    """Picture or video, white where the item is manipulated."""

    @property
    def family(self) -> tuple[str, ...]:
        """`originals`, or the item's own name."""
        return self.originals or (self.video or self.file,)

    @property
    def persons(self) -> tuple[str, ...]:
        """All persons who are known to be in it."""
        return (*(() if self.identity is None else (self.identity,)), *self.donors)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All items of a folder."""

    root: Path
    """The folder that paths are relative to."""
    layout: str
    """Name of the reader."""
    items: tuple[Item, ...]
    """In a fixed order."""
    notes: tuple[str, ...] = ()
    """What was left out or put right, one line each."""

    @property
    def media(self) -> Media:
        """What most of the items are."""
        pictures = sum(media_of(item.file) is Media.PICTURE for item in self.items)
        return Media.PICTURE if 2 * pictures > len(self.items) else Media.VIDEO


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One layout."""

    name: str
    """As `data.layout` names it."""
    title: str
    """Name of the data set."""
    shape: str
    """What tells it from others, on one line."""
    tree: str
    """The folders and files that are expected, for messages and the guide."""
    detect: Callable[[Path], float]
    """How well a folder fits, 0 (not at all) to 1; looks at names and heads of lists only."""
    read: Callable[[Path], Listing]
    """All items; raises DataError that names the file and line that can't be read."""
    read_classes: Callable[[Path, tuple[str, ...]], Listing] | None = None
    """The same by the names of classes, which become the items' kinds; None where the layout has only real, fake and kinds."""


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As `os.walk`, top down and sorted, without hidden names, and into linked folders, too: splits often lie on another disk.

    A link to a folder that it lies in is not followed; folders that can't be read are left out. Only folders that the caller
    leaves in the list are gone into.
    """
    real = folder.resolve()
    yield from _walk(folder, real, frozenset(real.parents))


def _walk(folder: Path, real: Path, above: frozenset[Path]) -> Iterator[tuple[Path, list[str], list[str]]]:
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: (_is_folder(entry), entry.is_symlink()) for entry in entries if not entry.name.startswith(".")}
    except OSError:
        return
    folders = sorted(name for name, (is_folder, _) in found.items() if is_folder)
    yield folder, folders, sorted(found.keys() - set(folders))
    inside = above | {real}
    for name in folders:
        target = (folder / name).resolve() if found[name][1] else real / name
        if target not in inside:
            yield from _walk(folder / name, target, inside)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def files_below(folder: Path, root: Path) -> Iterator[str]:
    """Videos and pictures below a folder, relative to `root`, sorted; hidden files and folders are left out."""
    for place, _, names in walk(folder):
        base = place.relative_to(root).as_posix()
        for name in names:
            if media_of(name) is not None:
                yield name if base == "." else f"{base}/{name}"


def tidy(path: str) -> str:
    """A path of somebody's list with forward slashes and without a leading `./` or `/`."""
    return path.strip().replace("\\", "/").removeprefix("./").lstrip("/")
