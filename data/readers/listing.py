"""What a reader says of a folder: its items, before anything is decoded."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from paretolens.models.signature import REAL

__all__ = ["PICTURES", "REAL", "VIDEOS", "Item", "Listing", "Media", "Reader", "files_below", "media_of", "tidy"]

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


def files_below(folder: Path, root: Path) -> Iterator[str]:
    """Videos and pictures below a folder, relative to `root`, sorted; hidden files and folders are left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        base = Path(place).relative_to(root).as_posix()
        for name in sorted(names):
            if not name.startswith(".") and media_of(name) is not None:
                yield name if base == "." else f"{base}/{name}"


def tidy(path: str) -> str:
    """A path of somebody's list with forward slashes and without a leading `./` or `/`."""
    return path.strip().replace("\\", "/").removeprefix("./").lstrip("/")
