"""How a clip or a picture becomes a model's inputs: geometry (`ClipSettings` or `PictureSettings`), scales (`Normaliser`), both
together (`Preprocessing`).

`Preprocessing` is all that a bundle must keep beside the network to read a new file as the training files were read.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch import Tensor

from paretolens.data.features import AudioSettings
from paretolens.data.reading import Reading
from paretolens.errors import ConfigurationError, IntegrityError
from paretolens.models.signature import InputKind, InputSpec, Signature

__all__ = [
    "ClipSettings",
    "ColourOrder",
    "Fit",
    "Normaliser",
    "PictureSettings",
    "PixelScale",
    "Preprocessing",
    "audio_visual_signature",
    "picture_signature",
]

OUTPUTS = ("logit", "offset", "attention")


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """Geometry of a decoded clip."""

    frames: Annotated[int, Ge(1)] = 8
    """Video frames T of one sample; shorter clips are padded and masked."""
    fps: Annotated[float, Gt(0.0)] = 8.0
    """Frames a second that are taken from the video."""
    size: Annotated[int, Ge(8)] = 64
    """Height and width in pixels, after a centred square crop."""
    audio: AudioSettings = field(default_factory=AudioSettings)
    """How the sound track becomes features."""

    @property
    def seconds(self) -> float:
        """Length of the window that one sample covers."""
        return self.frames / self.fps

    @property
    def audio_frames(self) -> int:
        """Feature frames L of one sample."""
        return max(1, round(self.seconds * self.audio.frames_per_second))


class Fit(StrEnum):
    """How a picture of any shape becomes a square."""

    CROP = "crop"
    """Its central square, then resized."""
    STRETCH = "stretch"
    """All of it, each side resized on its own."""


class ColourOrder(StrEnum):
    """In which order a model wants the colours; arrays are always stored as RGB."""

    RGB = "rgb"
    BGR = "bgr"


class PixelScale(StrEnum):
    """What the pixels of a model's input range over."""

    IMAGENET = "imagenet"
    """0..1, less ImageNet's mean, over its deviation."""
    UNIT = "unit"
    """0..1."""
    BYTES = "bytes"
    """0..255."""


@dataclass(frozen=True, kw_only=True)
class PictureSettings:
    """Geometry of a decoded picture."""

    size: Annotated[int, Ge(8)] = 128
    """Height and width in pixels."""
    fit: Fit = Fit.CROP
    """How a picture of another shape becomes a square."""
    order: ColourOrder = ColourOrder.RGB
    """Order of the colours in the model's input."""


def picture_signature(settings: PictureSettings, outputs: tuple[str, ...] = ("logit",)) -> Signature:
    """One input, image, in the size of `settings`."""
    return Signature.of_picture(settings.size, outputs)


def audio_visual_signature(settings: ClipSettings) -> Signature:
    """Inputs video, audio, video_mask, audio_mask and outputs logit, offset, attention, in the sizes of `settings`."""
    T, L = settings.frames, settings.audio_frames
    video = InputSpec(name="video", shape=(T, 3, settings.size, settings.size), kind=InputKind.VIDEO, mask="video_mask")
    audio = InputSpec(name="audio", shape=(L, settings.audio.coefficients), kind=InputKind.AUDIO, mask="audio_mask")
    video_mask = InputSpec(name="video_mask", shape=(T,), kind=InputKind.MASK)
    audio_mask = InputSpec(name="audio_mask", shape=(L,), kind=InputKind.MASK)
    return Signature(inputs=(video, audio, video_mask, audio_mask), outputs=OUTPUTS)


@dataclass(frozen=True, kw_only=True)
class Normaliser:
    """Scales of pixels and of audio features, fixed once from the training split."""

    image_mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Per channel, of pixels in 0..1 (ImageNet)."""
    image_std: tuple[float, ...] = (0.229, 0.224, 0.225)
    """Per channel, of pixels in 0..1 (ImageNet)."""
    audio_mean: tuple[float, ...] = (0.0,)
    """Per coefficient, over the unmasked frames of the training split."""
    audio_std: tuple[float, ...] = (1.0,)
    """Per coefficient, over the unmasked frames of the training split."""

    @classmethod
    def of_pixels(cls, scale: PixelScale) -> "Normaliser":
        """Scales of pixels alone, the same for the three colours or ImageNet's."""
        if scale is PixelScale.IMAGENET:
            return cls()
        deviation = 1.0 if scale is PixelScale.UNIT else 1.0 / 255.0
        return cls(image_mean=(0.0,) * 3, image_std=(deviation,) * 3)

    def image(self, pixels: np.ndarray) -> Tensor:
        """Scale pixels: (..., 3, H, W) in 0..255 → the same shape, float32."""
        scaled = torch.from_numpy(np.array(pixels, dtype=np.float32))
        mean = torch.tensor(self.image_mean).view(3, 1, 1) * 255.0
        std = torch.tensor(self.image_std).view(3, 1, 1) * 255.0
        return scaled.sub_(mean).div_(std)

    def sound(self, features: np.ndarray) -> Tensor:
        """Standardise audio features: (..., L, F) → the same shape, float32."""
        values = torch.from_numpy(np.array(features, dtype=np.float32))
        return (values - torch.tensor(self.audio_mean)) / torch.tensor(self.audio_std)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Everything needed to turn a file into a model's inputs: the geometry of either clips or pictures, and scales."""

    clip: ClipSettings | None = None
    """Geometry of clips; None for pictures."""
    picture: PictureSettings | None = None
    """Geometry of pictures; None for clips."""
    normaliser: Normaliser = field(default_factory=Normaliser)
    """Scales."""
    reading: Reading | None = None
    """How frames and parts of pictures are chosen; None = frames at even distances, all of each picture as the geometry says."""

    def __post_init__(self) -> None:
        if (self.clip is None) == (self.picture is None):
            raise ConfigurationError("preprocessing needs the geometry of clips or of pictures: give exactly one of them")

    def of_clips(self) -> ClipSettings:
        """The geometry of clips.

        Raises:
            ConfigurationError: these are pictures.
        """
        if self.clip is None:
            raise ConfigurationError("this model takes pictures, and a clip was asked for; give pictures")
        return self.clip

    def require_usual(self) -> None:
        """Refuse a choice of frames or of parts of pictures, where a file is read without it.

        Raises:
            ConfigurationError: there is one.
        """
        if self.reading is not None:
            raise ConfigurationError(
                f"this model looks at chosen parts of files (select {self.reading.select}, crop {self.reading.crop}), and single "
                "files are read without choosing here: use 'paretolens predict', or a set that is read evenly"
            )

    def of_pictures(self) -> PictureSettings:
        """The geometry of pictures.

        Raises:
            ConfigurationError: these are clips.
        """
        if self.picture is None:
            raise ConfigurationError("this model takes clips, and a picture was asked for; give clips")
        return self.picture

    def image(self, pixels: np.ndarray) -> Tensor:
        """RGB pixels (..., 3, H, W) in 0..255 → scaled, in the model's order of colours, float32."""
        if self.picture is not None and self.picture.order is ColourOrder.BGR:
            pixels = pixels[..., ::-1, :, :]
        return self.normaliser.image(pixels)

    def pixels(self, values: Tensor) -> np.ndarray:
        """The reverse of `image`: RGB pixels (..., 3, H, W) in 0..1 of what a model sees, not clipped, float64."""
        mean = np.reshape(self.normaliser.image_mean, (3, 1, 1))
        shown: np.ndarray = values.double().numpy() * np.reshape(self.normaliser.image_std, (3, 1, 1)) + mean
        return shown[..., ::-1, :, :] if self.picture is not None and self.picture.order is ColourOrder.BGR else shown

    def inputs(self, signature: Signature, arrays: Mapping[str, np.ndarray]) -> tuple[Tensor, ...]:
        """Arrays with a batch axis → tensors in the signature's order; positions that a mask hides are 0.

        Args:
            signature: Names, kinds and masks of the inputs.
            arrays: Per input name (B, ...): pixels uint8, features float32, masks bool.
        """
        tensors: list[Tensor] = []
        for spec in signature.inputs:
            raw = arrays[spec.name]
            if spec.kind is InputKind.MASK:
                tensors.append(torch.from_numpy(np.array(raw, dtype=bool)))
                continue
            value = self.normaliser.sound(raw) if spec.kind is InputKind.AUDIO else self.image(raw)
            if spec.mask is not None:
                hidden = torch.from_numpy(np.array(arrays[spec.mask], dtype=bool))
                value[hidden] = 0.0
            tensors.append(value)
        return tuple(tensors)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file; the geometry that there is none of is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Preprocessing":
        """Inverse of `to_json`.

        Raises:
            IntegrityError: A field is missing or unknown.
        """
        try:
            scales = {name: tuple(float(value) for value in values) for name, values in data["normaliser"].items()}
            normaliser = Normaliser(**scales)
            reading = Reading.from_json(data["reading"]) if "reading" in data else None
            if "picture" in data:
                plain = dict(data["picture"])
                fit, order = Fit(plain.pop("fit")), ColourOrder(plain.pop("order"))
                picture = PictureSettings(**plain, fit=fit, order=order)
                return Preprocessing(picture=picture, normaliser=normaliser, reading=reading)
            clip = dict(data["clip"])
            clip["audio"] = AudioSettings(**clip["audio"])
            return Preprocessing(clip=ClipSettings(**clip), normaliser=normaliser, reading=reading)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = (
                "preprocessing needs the fields of ClipSettings or PictureSettings, and of Normaliser, got an error at "
                f"{error}: write the file again"
            )
            raise IntegrityError(message) from error
