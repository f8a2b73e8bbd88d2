"""The built-in generated set, made on first use and kept in a cache.

Layout: `<cache>/generated/<hash>/` with `clips/<split>/000123.mp4`, `clips/metadata.json` (LAV-DF's fields), `clips/about.json`,
and one folder of arrays per split. The hash covers the settings and the generator's version; an entry is complete or absent.
"""

import os
from collections.abc import Callable
from pathlib import Path

from paretolens.data.generated.build import build_set
from paretolens.data.generated.settings import SPLITS, GeneratedSettings
from paretolens.data.samples import SampleSet
from paretolens.data.store import build_once, digest_of_json
from paretolens.errors import IntegrityError

__all__ = ["clips_folder", "prepare", "set_folder"]


def set_folder(settings: GeneratedSettings, cache: Path) -> Path:
    """Where the set of these settings lies, whether or not it exists yet."""
    return cache / "generated" / digest_of_json(settings.to_json())[:16]


def clips_folder(settings: GeneratedSettings, cache: Path) -> Path:
    """Where the set's .mp4 files and their metadata lie."""
    return set_folder(settings, cache) / "clips"


def prepare(
    settings: GeneratedSettings,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    workers: int | None = None,
    verify: bool = True,
) -> dict[str, SampleSet]:
    """The splits train, val, test and unseen, generated if they are not there yet.

    Args:
        settings: What the set holds.
        cache: Folder of all caches.
        progress: Called with (clips done, clips in all) while the set is generated.
        workers: Processes; default: one per core that this process may use.
        verify: Compare the arrays with their checksums.

    Raises:
        StoreError: The cache cannot be written.
        IntegrityError: The cached set is damaged.
    """
    count = workers or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    folder = build_once(set_folder(settings, cache), lambda place: build_set(settings, place, count, progress))
    try:
        return {split: SampleSet.load(folder / split, verify=verify) for split in SPLITS}
    except IntegrityError as error:
        raise IntegrityError(f"generated clips: {error}; the entry is {folder}: delete all of it") from error
