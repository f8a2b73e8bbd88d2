"""Knobs of the built-in generated pictures."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le

from paretolens.data.classes import check_classes
from paretolens.data.generated.settings import VERSION, GeneratedSettings, Share, Strength
from paretolens.data.preprocessing import ColourOrder, Fit, Normaliser, PictureSettings, PixelScale, Preprocessing
from paretolens.errors import ConfigurationError

__all__ = ["PICTURES_VERSION", "GeneratedPictures"]

PICTURES_VERSION = 1
"""Version of what is added to the clips' generator: raised whenever the same settings would give other pictures."""


@dataclass(frozen=True, kw_only=True)
class GeneratedPictures:
    """What the built-in set of pictures holds. The same settings always give the same pictures."""

    seed: Annotated[int, Ge(0)] = 0
    """Seed of everything random."""
    train: Annotated[int, Ge(2)] = 960
    """Pictures of the training split, half of them fake."""
    val: Annotated[int, Ge(2)] = 320
    """Pictures of the split on which choices are made."""
    test: Annotated[int, Ge(2)] = 320
    """Pictures of the split on which results are reported."""
    unseen: Annotated[int, Ge(2)] = 80
    """Pictures of the split whose kind of manipulation is in no other split."""
    size: Annotated[int, Ge(32), Le(512)] = 128
    """Height and width, an even number of pixels."""
    pictures_per_identity: Annotated[int, Ge(2)] = 8
    """Pictures of one person, half of them fake."""
    blend: Share = 0.55
    """Share of the fakes with another face's inner region."""
    mouth: Share = 0.45
    """Share of the fakes with a re-animated mouth."""
    strength_low: Strength = 0.2
    """Strength of the faintest fakes."""
    strength_high: Strength = 1.0
    """Strength of the clearest fakes."""
    webp: Share = 0.5
    """Share of WebP files."""
    jpeg: Share = 0.4
    """Share of JPEG files; what is left of 1 is PNG. Real and fake pictures are encoded alike."""
    quality_low: Annotated[int, Ge(1), Le(100)] = 80
    """Worst quality of WebP and JPEG."""
    quality_high: Annotated[int, Ge(1), Le(100)] = 97
    """Best quality of WebP and JPEG."""
    noise_low: Annotated[float, Ge(0.0)] = 0.006
    """Camera noise of the best camera, standard deviation of pixels in 0..1."""
    noise_high: Annotated[float, Ge(0.0)] = 0.03
    """Camera noise of the worst camera, standard deviation of pixels in 0..1."""
    order: ColourOrder = ColourOrder.RGB
    """Order of the colours in the model's input."""
    scale: PixelScale = PixelScale.IMAGENET
    """What the pixels of the model's input range over."""
    classes: tuple[str, ...] = ()
    """Tell kinds apart: real, blend, mouth, in the order of the labels, without the split unseen. Empty = real or fake."""

    def __post_init__(self) -> None:
        check_classes(self.classes)
        total, files = self.blend + self.mouth, self.webp + self.jpeg
        problems = [
            f"{rule}, got {value:g}"
            for broken, rule, value in (
                (self.size % 2, "size must be even", self.size),
                (abs(total - 1.0) > 1e-6, "blend + mouth must be 1", total),
                (files > 1.0 + 1e-6, "webp + jpeg must be at most 1", files),
                (self.strength_low > self.strength_high, "strength_low must be at most strength_high", self.strength_low),
                (self.quality_low > self.quality_high, "quality_low must not exceed quality_high", self.quality_low),
                (self.noise_low > self.noise_high, "noise_low must not exceed noise_high", self.noise_low),
            )
            if broken
        ]
        if problems:
            raise ConfigurationError("generated pictures: " + "; ".join(problems) + ": change these values")
        drawn = {"real", *(kind for kind in ("blend", "mouth") if getattr(self, kind) > 0)}
        if self.classes and set(self.classes) != drawn:
            raise ConfigurationError(
                f"data.classes of generated pictures must be {', '.join(sorted(drawn - {'real'}))} and real, which comes first; "
                f"got {', '.join(self.classes)}: name these, or none"
            )

    def sizes(self) -> dict[str, int]:
        """Pictures per split."""
        return {"train": self.train, "val": self.val, "test": self.test, "unseen": self.unseen}

    def scenes(self) -> GeneratedSettings:
        """The generator of clips whose scenes are photographed here: one frame of each, no sound."""
        return GeneratedSettings(
            seed=self.seed,
            **self.sizes(),
            size=self.size,
            frames=2,
            min_frames=2,
            clips_per_identity=self.pictures_per_identity,
            blend=self.blend,
            mouth=self.mouth,
            voice=0.0,
            shift=0.0,
            strength_low=self.strength_low,
            strength_high=self.strength_high,
            noise_low=self.noise_low,
            noise_high=self.noise_high,
        )

    def preprocessing(self) -> Preprocessing:
        """How the pictures become a model's input."""
        picture = PictureSettings(size=self.size, fit=Fit.CROP, order=self.order)
        return Preprocessing(picture=picture, normaliser=Normaliser.of_pixels(self.scale))

    def to_json(self) -> dict[str, Any]:
        """What decides the pictures as plain values, with the generators' versions."""
        plain = asdict(self)
        del plain["classes"]  # they only name what is there
        return plain | {"version": f"{VERSION}.{PICTURES_VERSION}"}
