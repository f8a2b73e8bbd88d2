"""Knobs of a data set that lies in a folder."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from paretolens.data.preprocessing import (
    ClipSettings,
    ColourOrder,
    Fit,
    Normaliser,
    PictureSettings,
    PixelScale,
    Preprocessing,
    audio_visual_signature,
    picture_signature,
)
from paretolens.data.readers.hygiene import SplitSettings
from paretolens.data.reading import Crop, Reading, Select
from paretolens.errors import ConfigurationError
from paretolens.models.signature import Signature

__all__ = ["Contents", "FolderSettings", "Take"]

VERSION, READING_VERSION, CHOICE_VERSION = 1, 2, 3
"""Version of the pipeline, of evenly read files, of parts of pictures and of clips whose frames are chosen: raised whenever the
same files and settings would give other samples or another record of how they are read."""


class Take(StrEnum):
    """What one sample is."""

    CLIPS = "clips"
    """A window of a video with its sound."""
    PICTURES = "pictures"
    """One picture; of videos, some of their frames."""


class Contents(StrEnum):
    """What of a file tells whether it is still the same."""

    ENDS = "ends"
    """Its length and its first and last 64 KB, where videos keep their index."""
    WHOLE = "whole"
    """Every byte."""


@dataclass(frozen=True, kw_only=True)
class FolderSettings(SplitSettings):
    """A data set on disk: where it is, how it is split, and what is taken from it."""

    path: Path
    """Its folder, or a list in it (a manifest's .csv, a DeepfakeBench .json). Relative paths are made absolute at once."""
    layout: str = "auto"
    """Name of the layout, as `paretolens data layouts` lists them; auto = the one that fits."""
    take: Take = Take.CLIPS
    """Whether samples are clips or pictures."""
    size: Annotated[int, Ge(8)] | None = None
    """Height and width in pixels; None = 64 for clips, 128 for pictures."""
    frames: Annotated[int, Ge(1)] = 8
    """Frames of a clip."""
    fps: Annotated[float, Gt(0.0)] = 8.0
    """Frames a second; a clip's window lasts frames / fps seconds."""
    windows: Annotated[int, Ge(1)] = 1
    """Clips of one video."""
    per_video: Annotated[int, Ge(1)] = 8
    """Pictures of one video."""
    select: Select = Select.UNIFORM
    """How frames are chosen. All but uniform leave the moment of a frame open, so that no clip counts as in sync."""
    oversample: Annotated[int, Ge(1), Le(64)] = 4
    """Candidates per chosen frame; of no use with select uniform."""
    crop: Crop = Crop.CENTRE
    """Which part of the picture is kept."""
    boxes: Path | None = None
    """With crop boxes: JSON {file: [[seconds, left, top, width, height], …]}, pixels of the upright picture."""
    face_model: Path | None = None
    """With crop yunet: the model's .onnx file."""
    margin: Annotated[float, Ge(0.0), Le(4.0)] = 0.3
    """Room around a box on each side, as a share of its longer side."""
    fit: Fit = Fit.CROP
    """How a picture that is no square becomes one, without a box."""
    order: ColourOrder = ColourOrder.RGB
    """Order of the colours in the input of a model of pictures."""
    scale: PixelScale = PixelScale.IMAGENET
    """What the pixels of a model of pictures range over."""
    max_skipped: Annotated[float, Ge(0.0), Le(1.0)] = 0.05
    """Share of unreadable files from which on the run stops."""
    contents: Contents = Contents.ENDS
    """What of a file is looked at to know it again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("path", "boxes", "face_model"):  # other processes work in other folders
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, path.expanduser().absolute())
        problems = [
            rule
            for broken, rule in (
                ((self.crop is Crop.BOXES) != (self.boxes is not None), "crop boxes and the file boxes belong together"),
                (
                    (self.crop is Crop.YUNET) != (self.face_model is not None),
                    "crop yunet and the file face_model belong together",
                ),
                (self.take is Take.PICTURES and self.windows > 1, "windows are for clips; pictures have per_video"),
            )
            if broken
        ]
        if problems:
            raise ConfigurationError("data of a folder: " + "; ".join(problems) + ": give both or neither")

    @property
    def pixels(self) -> int:
        """Height and width."""
        return self.size or (64 if self.take is Take.CLIPS else 128)

    @property
    def seconds(self) -> float:
        """Length of a clip's window."""
        return self.frames / self.fps

    @property
    def chooses(self) -> bool:
        """Whether the frames of a clip lie at uneven distances."""
        return self.select is not Select.UNIFORM and self.take is Take.CLIPS

    def preprocessing(self, normaliser: Normaliser | None = None, *, face_model: str = "") -> Preprocessing:
        """How files become a model's input; the scales of sound must have been measured, and the model's file digested."""
        reading = self._reading(face_model)
        if self.take is Take.PICTURES:
            picture = PictureSettings(size=self.pixels, fit=self.fit, order=self.order)
            return Preprocessing(picture=picture, normaliser=Normaliser.of_pixels(self.scale), reading=reading)
        clip = ClipSettings(frames=self.frames, fps=self.fps, size=self.pixels)
        return Preprocessing(clip=clip, normaliser=normaliser or Normaliser(), reading=reading)

    def _reading(self, face_model: str) -> Reading | None:
        """None where frames are even and squares central. Of a picture there is but one frame."""
        chosen, cut = self.chooses, self.crop is not Crop.CENTRE
        if not chosen and not cut:
            return None
        return Reading(
            select=self.select if chosen else Select.UNIFORM,
            oversample=self.oversample if chosen else 1,
            crop=self.crop,
            margin=self.margin if cut else 0.0,
            face_model=face_model,
        )

    def signature(self) -> Signature:
        """The inputs that samples give."""
        preprocessing = self.preprocessing()
        if self.take is Take.CLIPS:
            return audio_visual_signature(preprocessing.of_clips())
        return picture_signature(preprocessing.of_pictures())

    def decoding(self) -> dict[str, Any]:
        """What decides the samples of given items, as plain values."""
        plain = asdict(self)
        for name in ("path", "layout", "max_skipped", "contents", "boxes", "face_model", *SplitSettings.__dataclass_fields__):
            del plain[name]
        read = VERSION if self._reading("") is None else READING_VERSION
        version = CHOICE_VERSION if self.chooses else read
        return plain | {"seed": self.seed, "version": version}
