"""Where the samples of a study come from, by name: one dict of sources, each with settings of its own.

A source is stateless; what it makes lies in the cache under a hash of its settings. Nothing heavy is imported until a source is
asked for samples.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from paretolens.data.classes import by_kind, with_classes
from paretolens.data.generated.picture_settings import GeneratedPictures
from paretolens.data.generated.settings import GeneratedSettings
from paretolens.data.preprocessing import ClipSettings, audio_visual_signature, picture_signature
from paretolens.lookup import Places, make
from paretolens.models.signature import Signature

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = [
    "DEFAULT_SOURCE",
    "DataKind",
    "GeneratedClipSource",
    "GeneratedPictureSource",
    "Source",
    "get_source",
    "source_label",
    "sources",
]

DEFAULT_SOURCE = "generated-clips"
Progress = Callable[[int, int], None]
Settings_contra = TypeVar("Settings_contra", contravariant=True)


class DataKind(StrEnum):
    """What one sample is."""

    CLIPS = "clips"
    """Video with sound, as `audio_visual_signature` says."""
    PICTURES = "pictures"
    """One picture, as `picture_signature` says."""


@runtime_checkable
class Source(Protocol[Settings_contra]):
    """One kind of data set; it holds no state, so that any process may make its own."""

    name: str
    """Name in the registry and in configurations (`data.source`)."""
    summary: str
    """One line: what it holds."""
    settings_type: type[Any]
    """The frozen dataclass of its settings: the other keys under `data`."""
    kinds: tuple[DataKind, ...]
    """What its samples may be."""
    generated: bool
    """Whether it makes its samples itself, so that nobody needs to have any."""

    def signature_kind(self, settings: Settings_contra) -> DataKind:
        """What one sample is."""
        ...

    def signature(self, settings: Settings_contra) -> Signature:
        """The inputs that its samples give, known before anything is read."""
        ...

    def listed(self, settings: Settings_contra) -> dict[str, int]:
        """Samples of each split as far as settings and lists tell; nothing is decoded, so what turns out unreadable is counted.

        Raises:
            DataError: there is no list to read, or it gives no splits.
        """
        ...

    def place(self, settings: Settings_contra, cache: Path) -> Path:
        """Where the files lie that people may look at."""
        ...

    def prepare(
        self,
        settings: Settings_contra,
        cache: Path,
        progress: Progress | None = None,
        *,
        workers: int | None = None,
        verify: bool = True,
    ) -> "dict[str, SampleSet]":
        """The splits train, val, test and, where the source has one, unseen; made or read if they are not cached yet.

        Args:
            settings: What to prepare.
            cache: Folder of all caches.
            progress: Called with (samples done, samples in all).
            workers: Processes; default: one per core that this process may use.
            verify: Compare the arrays with their checksums.

        Raises:
            UserError: files are missing or unreadable, the cache cannot be written, or what it holds is damaged.
        """
        ...


class GeneratedClipSource:
    """The built-in clips: drawn faces that speak with a synthesised voice, and manipulated copies."""

    name = DEFAULT_SOURCE
    summary = "drawn faces that speak with a synthesised voice, made here"
    settings_type = GeneratedSettings
    kinds = (DataKind.CLIPS,)
    generated = True

    def signature_kind(self, settings: GeneratedSettings) -> DataKind:
        """Clips."""
        return DataKind.CLIPS

    def signature(self, settings: GeneratedSettings) -> Signature:
        """Video, audio and their masks."""
        return audio_visual_signature(ClipSettings(frames=settings.frames, fps=settings.fps, size=settings.size))

    def listed(self, settings: GeneratedSettings) -> dict[str, int]:
        """All splits."""
        return settings.sizes()

    def place(self, settings: GeneratedSettings, cache: Path) -> Path:
        """The folder of .mp4 files."""
        from paretolens.data.prepare import clips_folder

        return clips_folder(settings, cache)

    def prepare(
        self,
        settings: GeneratedSettings,
        cache: Path,
        progress: Progress | None = None,
        *,
        workers: int | None = None,
        verify: bool = True,
    ) -> "dict[str, SampleSet]":
        """See `paretolens.data.prepare.prepare`."""
        from paretolens.data.prepare import prepare

        return prepare(settings, cache, progress, workers=workers, verify=verify)


class GeneratedPictureSource:
    """The built-in pictures: single frames of the same scenes, encoded as WebP, JPEG or PNG."""

    name = "generated-pictures"
    summary = "drawn faces as single pictures, made here"
    settings_type = GeneratedPictures
    kinds = (DataKind.PICTURES,)
    generated = True

    def signature_kind(self, settings: GeneratedPictures) -> DataKind:
        """Pictures."""
        return DataKind.PICTURES

    def signature(self, settings: GeneratedPictures) -> Signature:
        """One picture, and the classes."""
        return with_classes(picture_signature(settings.preprocessing().of_pictures()), settings.classes)

    def listed(self, settings: GeneratedPictures) -> dict[str, int]:
        """All splits; with classes there is no kind that is not trained on, so none unseen."""
        return {split: size for split, size in settings.sizes().items() if not (settings.classes and split == "unseen")}

    def place(self, settings: GeneratedPictures, cache: Path) -> Path:
        """The folder of picture files."""
        from paretolens.data.prepare import pictures_folder

        return pictures_folder(settings, cache)

    def prepare(
        self,
        settings: GeneratedPictures,
        cache: Path,
        progress: Progress | None = None,
        *,
        workers: int | None = None,
        verify: bool = True,
    ) -> "dict[str, SampleSet]":
        """See `paretolens.data.prepare.prepare_pictures`."""
        from paretolens.data.prepare import prepare_pictures

        return by_kind(prepare_pictures(settings, cache, progress, workers=workers, verify=verify), settings.classes)


_SOURCES: Places = {
    DEFAULT_SOURCE: ("paretolens.data.sources", "GeneratedClipSource"),
    "generated-pictures": ("paretolens.data.sources", "GeneratedPictureSource"),
    "folder": ("paretolens.data.folder", "FolderSource"),
}


def sources() -> tuple[str, ...]:
    """The names of all sources, sorted."""
    return tuple(sorted(_SOURCES))


def source_label(name: str) -> str:
    """A source's name in stores and tables: of the built-in clips `generated`, as it was before there were others."""
    return name.removesuffix("-clips")


def get_source(name: str) -> Source[Any]:
    """The source of this name; its module is imported now.

    Raises:
        ConfigurationError: there is none; the nearest is named.
    """
    source: Source[Any] = make("data.source", name, _SOURCES)
    return source
