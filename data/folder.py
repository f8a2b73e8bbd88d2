"""The data source `folder`: a data set on disk, in one of the layouts that readers know, as memory-mapped samples."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from paretolens.data.classes import by_kind, with_classes
from paretolens.data.pipeline.settings import FolderSettings, Take
from paretolens.data.readers.hygiene import Organised, organise
from paretolens.data.readers.listing import Listing, Media
from paretolens.data.readers.registry import read_listing
from paretolens.data.reading import Crop
from paretolens.data.sources import DataKind
from paretolens.data.store import build_once, digest_of_file, digest_of_json
from paretolens.errors import DataError
from paretolens.machine import usable_cores
from paretolens.models.signature import Signature

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["FolderSource", "listed", "told"]

Progress = Callable[[int, int], None]
ABOUT = "about.json"


class FolderSource:
    """Videos or pictures in a folder: published data sets, folders of classes, lists."""

    name = "folder"
    summary = "videos or pictures on disk, in one of the layouts of `paretolens data layouts`"
    settings_type = FolderSettings
    kinds = (DataKind.CLIPS, DataKind.PICTURES)
    generated = False

    def signature_kind(self, settings: FolderSettings) -> DataKind:
        """As `take` says."""
        return DataKind.CLIPS if settings.take is Take.CLIPS else DataKind.PICTURES

    def signature(self, settings: FolderSettings) -> Signature:
        """In the sizes of the settings, and the classes."""
        return with_classes(settings.signature(), settings.classes)

    def listed(self, settings: FolderSettings) -> dict[str, int]:
        """As the layout's lists and folders say; of a short video fewer pictures may come."""
        from paretolens.data.pipeline.work import rows_of

        counts: Counter[str] = Counter()
        for item in listed(settings)[1].items:
            counts[str(item.split)] += rows_of(item, settings)
        return dict(counts)

    def place(self, settings: FolderSettings, cache: Path) -> Path:
        """The data set's own folder."""
        return settings.path

    def prepare(
        self,
        settings: FolderSettings,
        cache: Path,
        progress: Progress | None = None,
        *,
        workers: int | None = None,
        verify: bool = True,
    ) -> "dict[str, SampleSet]":
        """The splits of the folder, decoded unless they are cached; what was decoded before a stop is not decoded again.

        Args:
            settings: Where it is and what is taken from it.
            cache: Folder of all caches.
            progress: Called with (files done, files in all).
            workers: Processes; default: one per core that this process may use.
            verify: Compare the arrays with their checksums.

        Raises:
            DataError: no layout fits, a list can't be read, a split leaks or lacks a class, or too many files can't be decoded.
            StoreError: the cache can't be written.
            IntegrityError: the cached set is damaged.
        """
        from paretolens.data.samples import SampleSet

        folder = decoded_folder(settings, cache, progress, workers=workers)
        splits = [split for split in ("train", "val", "test", "unseen") if (folder / split).is_dir()]
        return by_kind({split: SampleSet.load(folder / split, verify=verify) for split in splits}, settings.classes)


def listed(settings: FolderSettings) -> tuple[Listing, Organised]:
    """What the folder holds and how it is split; nothing is decoded.

    Raises:
        DataError: as `FolderSource.prepare`.
    """
    listing = read_listing(settings.path, settings.layout, settings.classes)
    if settings.take is Take.CLIPS and listing.media is Media.PICTURE:
        raise DataError(f"data.take is clips, but {settings.path} ({listing.layout}) holds pictures: set data.take to pictures")
    return listing, organise(listing, settings)


def told(place: Path) -> tuple[str, ...]:
    """What a user should know of a set, a line each: what was left out of its splits or put right, and unreadable files.

    Args:
        place: Its folder, as `decoded_folder` gives it; any other folder has nothing to tell.
    """
    try:
        about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        notes, skipped = tuple(map(str, about["notes"])), int(about["skipped"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    left_out = f"{skipped} {'file' if skipped == 1 else 'files'} could not be read and stand in {place / 'skipped.csv'}"
    return (*notes, left_out) if skipped else notes


def decoded_folder(
    settings: FolderSettings, cache: Path, progress: Progress | None = None, *, workers: int | None = None
) -> Path:
    """Folder of the decoded set, made unless it is there."""
    listing, organised = listed(settings)
    place = cache / "folder" / _key(settings, listing, organised, cache)

    def build(target: Path) -> None:
        from paretolens.data.pipeline.build import decode_all
        from paretolens.data.pipeline.finish import finish_splits

        count = workers or usable_cores()
        rows = place.with_name(f"{place.name}.decoding")
        decoded = decode_all(organised, listing.root, settings, rows, workers=count, progress=progress)
        finish_splits(decoded, organised, settings, rows, target)
        about = {
            "layout": listing.layout,
            "root": str(listing.root),
            "notes": list(organised.notes),
            "skipped": len(decoded.skipped),
        }
        (target / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")

    build_once(place, build)
    shutil.rmtree(place.with_name(f"{place.name}.decoding"), ignore_errors=True)
    return place


def _key(settings: FolderSettings, listing: Listing, organised: Organised, cache: Path) -> str:
    """Hash of everything that decides the samples: what the lists say, the files' contents, and what is taken from them."""
    from paretolens.data.pipeline.contents import digests_of

    memory = cache / "folder" / f"contents-{digest_of_json([str(listing.root.resolve()), settings.contents])[:16]}.json"
    files = [item.file for item in organised.items] + [item.mask for item in organised.items if item.mask is not None]
    digests = digests_of(listing.root, files, settings.contents, memory)
    total = hashlib.sha256(json.dumps(settings.decoding() | _helpers(settings), sort_keys=True).encode())
    for item, group, identity in zip(organised.items, organised.groups, organised.identities, strict=True):
        known = [asdict(item), group, identity, digests[item.file], digests.get(item.mask or "")]
        total.update(json.dumps(known, sort_keys=True).encode())
    return total.hexdigest()[:16]


def _helpers(settings: FolderSettings) -> dict[str, str]:
    """Contents of the file of boxes or of the model."""
    path = {Crop.BOXES: settings.boxes, Crop.YUNET: settings.face_model}.get(settings.crop)
    if path is None:
        return {}
    try:
        return {"helper": digest_of_file(path)}
    except OSError as error:
        key = "boxes" if settings.crop is Crop.BOXES else "face_model"
        raise DataError(f"data.{key} must be a file, {path} can't be read ({error.strerror}): mend data.{key}") from error
