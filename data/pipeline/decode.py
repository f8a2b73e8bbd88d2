"""One file of a data set → its samples. No state, no output: called by any process."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paretolens.data.clips import Clip, OpenClip, open_clip
from paretolens.data.face_finder import LOOKS, WHOLE, Box, TimedBox, box_around
from paretolens.data.frame_choice import SELECTORS
from paretolens.data.frame_spread import spread_over
from paretolens.data.pictures import read_picture
from paretolens.data.pipeline.crop import Cropper
from paretolens.data.pipeline.settings import FolderSettings, Take
from paretolens.data.pipeline.windows import Truth, picture_truth, place_windows, window_truth
from paretolens.data.preprocessing import ClipSettings, Fit
from paretolens.data.readers.listing import Item, Media, media_of
from paretolens.data.reading import Select
from paretolens.data.regions import REGION_CELLS, coarse

__all__ = ["Decoder", "Sample", "samples_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoder:
    """How the files of one folder are read."""

    root: Path
    """The folder."""
    settings: FolderSettings
    """What is taken from each file."""
    cropper: Cropper | None = None
    """Finds what to keep of a picture; None keeps the central square."""

    def mask_of(self, item: Item) -> Path | None:
        """The file that shows where an item is manipulated, if there is one."""
        path = self.root / item.mask if item.mask is not None else None
        return path if path is not None and path.is_file() else None

    def box_of(self, item: Item, times: list[float]) -> tuple[tuple[TimedBox, ...], Box | None]:
        """Faces at some moments, and the square around them."""
        found = () if self.cropper is None else tuple(self.cropper.find(item.file, self.root / item.file, times))
        return found, box_around(found, self.settings.margin)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One sample of a file."""

    arrays: Mapping[str, np.ndarray]
    """Rows of the columns: input_…, regions and, of chosen frames, moments."""
    truth: Truth
    """What is manipulated."""
    start: float
    """Where the window starts or the frame is shown, in seconds."""
    note: str = ""
    """What is missing."""
    boxes: tuple[TimedBox, ...] = ()
    """Where the face was found."""


def samples_of(item: Item, decoder: Decoder) -> Iterator[Sample]:
    """The samples of a file, in order of time.

    Raises:
        DataError: the file is missing or can't be decoded.
    """
    path, settings = decoder.root / item.file, decoder.settings
    if settings.take is Take.CLIPS:
        with open_clip(path) as clip:
            for start in place_windows(item, clip.seconds, settings):
                yield _window(item, clip, start, decoder)
    elif media_of(item.file) is Media.PICTURE:
        yield _picture(item, path, decoder)
    else:
        yield from _frames(item, path, decoder)


def _window(item: Item, clip: OpenClip, start: float, decoder: Decoder) -> Sample:
    settings = decoder.settings
    boxes, box = decoder.box_of(item, [start + part * settings.seconds for part in LOOKS])
    geometry = settings.preprocessing().of_clips()
    dense = _denser(geometry, settings)
    read = clip.read(dense, start=start, box=box)
    chosen = _chosen(read, settings)
    arrays = dict(read.arrays)
    arrays["video"], arrays["video_mask"] = _taken(read.arrays["video"], chosen, geometry.frames)
    truth = window_truth(item, start, settings, chosen / dense.fps)
    regions = np.zeros((geometry.frames, REGION_CELLS, REGION_CELLS), bool)
    regions[: len(chosen)] = np.array(truth.frames, bool)[:, None, None]
    mask = decoder.mask_of(item) if truth.fake else None
    if mask is not None:
        with open_clip(mask) as opened:
            drawn = _masks(opened.read(dense, start=start, box=box, sound=False), chosen)
        regions[: len(drawn)] &= drawn
    columns = {f"input_{name}": array for name, array in arrays.items()} | {"regions": regions}
    if settings.chooses:
        columns["moments"] = np.zeros(geometry.frames, np.float32)
        columns["moments"][: len(chosen)] = chosen / dense.fps
    return Sample(arrays=columns, truth=truth, start=start, note=read.note, boxes=boxes)


def _denser(geometry: ClipSettings, settings: FolderSettings) -> ClipSettings:
    """The geometry in which candidates are read: the same window with more frames."""
    if settings.select is Select.UNIFORM:
        return geometry
    return replace(geometry, frames=geometry.frames * settings.oversample, fps=geometry.fps * settings.oversample)


def _chosen(read: Clip, settings: FolderSettings) -> np.ndarray:
    """Indices of the frames that are kept, ascending; `uniform` keeps what was read."""
    shown = int((~read.arrays["video_mask"]).sum())
    if settings.select is Select.UNIFORM:
        return np.arange(shown)
    return SELECTORS[settings.select](read.arrays["video"][:shown].transpose(0, 2, 3, 1), settings.frames)


def _taken(video: np.ndarray, chosen: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Chosen frames, padded to T, and the mask of the padding."""
    if len(chosen) == len(video) == frames:
        return video, np.zeros(frames, bool)
    padded = np.zeros((frames, *video.shape[1:]), np.uint8)
    padded[: len(chosen)] = video[chosen]
    return padded, np.arange(frames) >= len(chosen)


def _masks(mask: Clip, chosen: np.ndarray) -> np.ndarray:
    """(n, 16, 16) bool of a video that is white where the frames are manipulated."""
    shown = int((~mask.arrays["video_mask"]).sum())
    pictures = mask.arrays["video"][chosen[chosen < shown]]
    return coarse(pictures.mean(axis=1, dtype=np.float32) / 255.0)


def _picture(item: Item, path: Path, decoder: Decoder) -> Sample:
    boxes, box = decoder.box_of(item, [0.0])
    geometry = decoder.settings.preprocessing().of_pictures()
    truth = picture_truth(item, None)
    pixels = read_picture(path, geometry, box=box)
    regions = np.full((1, REGION_CELLS, REGION_CELLS), truth.frames[0])
    mask = decoder.mask_of(item) if truth.fake else None
    if mask is not None:
        regions = coarse(read_picture(mask, geometry, box=box).mean(axis=0, dtype=np.float32)[None] / 255.0)
    return Sample(arrays={"input_image": pixels, "regions": regions}, truth=truth, start=0.0, boxes=boxes)


def _frames(item: Item, path: Path, decoder: Decoder) -> Iterator[Sample]:
    """Frames of a video as pictures."""
    settings = decoder.settings
    wanted = settings.per_video * (1 if settings.select is Select.UNIFORM else settings.oversample)
    with open_clip(path) as clip:
        spread = spread_over(clip, wanted, fps=settings.fps)
        boxes, box = decoder.box_of(item, [part * spread.step * spread.count for part in LOOKS])
        box = WHOLE if box is None and settings.fit is Fit.STRETCH else box
        geometry, first, step = spread.geometry(settings.pixels), spread.first, spread.step
        read = clip.read(geometry, start=first, box=box, sound=False)
    shown = int((~read.arrays["video_mask"]).sum())
    chosen = SELECTORS[settings.select](read.arrays["video"][:shown].transpose(0, 2, 3, 1), settings.per_video)
    truths = [picture_truth(item, first + float(index) * step) for index in chosen]
    regions = np.zeros((len(chosen), REGION_CELLS, REGION_CELLS), bool)
    regions[:] = np.array([truth.frames[0] for truth in truths])[:, None, None]
    mask = decoder.mask_of(item) if item.fake else None
    if mask is not None:
        with open_clip(mask) as opened:
            drawn = _masks(opened.read(geometry, start=first, box=box, sound=False), chosen)
        regions[: len(drawn)] &= drawn
    for index, truth, region in zip(chosen, truths, regions, strict=True):
        columns = {"input_image": read.arrays["video"][index], "regions": region[None]}
        yield Sample(arrays=columns, truth=truth, start=first + float(index) * step, boxes=boxes)
