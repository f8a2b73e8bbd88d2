"""The built-in generated sets, made on first use and kept in a cache.

Layout: `<cache>/generated/<hash>/` with `clips/<split>/000123.mp4`, `clips/metadata.json` (LAV-DF's fields), `clips/about.json`,
and one folder of arrays per split; `<cache>/generated-pictures/<hash>/` likewise with `pictures/`. The hash covers the settings
and the generator's version; an entry is complete or absent.
"""

from collections.abc import Callable
from pathlib import Path

from paretolens.data.generated.build import build_set
from paretolens.data.generated.picture_settings import GeneratedPictures
from paretolens.data.generated.pictures import build_pictures
from paretolens.data.generated.settings import SPLITS, GeneratedSettings
from paretolens.data.samples import SampleSet
from paretolens.data.store import build_once, digest_of_json
from paretolens.errors import IntegrityError
from paretolens.machine import usable_cores

__all__ = ["clips_folder", "pictures_folder", "prepare", "prepare_pictures", "set_folder"]

Progress = Callable[[int, int], None]


def set_folder(settings: GeneratedSettings | GeneratedPictures, cache: Path) -> Path:
    """Where the set of these settings lies, whether or not it exists yet."""
    kind = "generated" if isinstance(settings, GeneratedSettings) else "generated-pictures"
    return cache / kind / digest_of_json(settings.to_json())[:16]


def clips_folder(settings: GeneratedSettings, cache: Path) -> Path:
    """Where the set's .mp4 files and their metadata lie."""
    return set_folder(settings, cache) / "clips"


def pictures_folder(settings: GeneratedPictures, cache: Path) -> Path:
    """Where the set's picture files and their metadata lie."""
    return set_folder(settings, cache) / "pictures"


def prepare(
    settings: GeneratedSettings,
    cache: Path,
    progress: Progress | None = None,
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
    count = workers or usable_cores()
    folder = build_once(set_folder(settings, cache), lambda place: build_set(settings, place, count, progress))
    return _load(folder, "generated clips", verify=verify)


def prepare_pictures(
    settings: GeneratedPictures,
    cache: Path,
    progress: Progress | None = None,
    *,
    workers: int | None = None,
    verify: bool = True,
) -> dict[str, SampleSet]:
    """The same splits of generated pictures; arguments and errors as `prepare`."""
    count = workers or usable_cores()
    folder = build_once(set_folder(settings, cache), lambda place: build_pictures(settings, place, count, progress))
    return _load(folder, "generated pictures", verify=verify)


def _load(folder: Path, what: str, *, verify: bool) -> dict[str, SampleSet]:
    try:
        return {split: SampleSet.load(folder / split, verify=verify) for split in SPLITS}
    except IntegrityError as error:
        raise IntegrityError(f"{what}: {error}; the entry is {folder}: delete all of it") from error
