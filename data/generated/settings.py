"""Knobs of the built-in generated set."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from paretolens.errors import ConfigurationError

__all__ = ["KINDS", "SPLITS", "UNSEEN_KIND", "VERSION", "GeneratedSettings"]

VERSION = 7
"""Version of the generator: raised whenever the same settings would give other clips."""
KINDS = ("blend", "mouth", "voice", "shift")
"""Manipulations of the splits train, val and test."""
UNSEEN_KIND = "upsample"
"""Manipulation of the split unseen alone."""
SPLITS = ("train", "val", "test", "unseen")

Share = Annotated[float, Ge(0.0), Le(1.0)]
Strength = Annotated[float, Ge(0.0), Le(1.0)]


@dataclass(frozen=True, kw_only=True)
class GeneratedSettings:
    """What the built-in generated set holds. The same settings always give the same clips."""

    seed: Annotated[int, Ge(0)] = 0
    """Seed of everything random."""
    train: Annotated[int, Ge(2)] = 640
    """Clips of the training split, half of them fake."""
    val: Annotated[int, Ge(2)] = 240
    """Clips of the split on which choices are made."""
    test: Annotated[int, Ge(2)] = 240
    """Clips of the split on which results are reported."""
    unseen: Annotated[int, Ge(2)] = 80
    """Clips of the split whose kind of manipulation is in no other split."""
    size: Annotated[int, Ge(32), Le(512)] = 64
    """Height and width of the picture, an even number of pixels."""
    frames: Annotated[int, Ge(2)] = 8
    """Frames T of a sample."""
    min_frames: Annotated[int, Ge(2)] = 6
    """Frames of the shortest clip; shorter clips are padded to `frames` and masked."""
    fps: Annotated[float, Gt(0.0)] = 8.0
    """Frames a second."""
    clips_per_identity: Annotated[int, Ge(2)] = 8
    """Clips of one person, half of them fake."""
    blend: Share = 0.42
    """Share of the fakes with another face's inner region."""
    mouth: Share = 0.34
    """Share of the fakes with a re-animated mouth."""
    voice: Share = 0.18
    """Share of the fakes with a vocoded voice."""
    shift: Share = 0.06
    """Share of the fakes whose sound is moved by 2 to 5 frames."""
    strength_low: Strength = 0.2
    """Strength of the faintest fakes."""
    strength_high: Strength = 1.0
    """Strength of the clearest fakes."""
    crf_low: Annotated[int, Ge(0), Le(51)] = 12
    """Best H.264 quality (constant rate factor)."""
    crf_high: Annotated[int, Ge(0), Le(51)] = 24
    """Worst H.264 quality (constant rate factor)."""
    noise_low: Annotated[float, Ge(0.0)] = 0.006
    """Camera noise of the best camera, standard deviation of pixels in 0..1."""
    noise_high: Annotated[float, Ge(0.0)] = 0.03
    """Camera noise of the worst camera, standard deviation of pixels in 0..1."""

    def __post_init__(self) -> None:
        total = sum(self.shares().values())
        problems = [
            f"{rule}, got {value}"
            for broken, rule, value in (
                (self.size % 2, "size must be even (H.264 halves the colour planes)", self.size),
                (self.min_frames > self.frames, "min_frames must not exceed frames", self.min_frames),
                (
                    abs(total - 1.0) > 1e-6,
                    "blend + mouth + voice + shift must be 1",
                    total,
                ),
                (self.strength_low > self.strength_high, "strength_low must be at most strength_high", self.strength_low),
                (self.crf_low > self.crf_high, "crf_low must not exceed crf_high", self.crf_low),
                (self.noise_low > self.noise_high, "noise_low must not exceed noise_high", self.noise_low),
            )
            if broken
        ]
        if problems:
            raise ConfigurationError("generated data: " + "; ".join(problems) + ": change these values")

    def shares(self) -> dict[str, float]:
        """Share of each kind among the fakes of train, val and test."""
        return {"blend": self.blend, "mouth": self.mouth, "voice": self.voice, "shift": self.shift}

    def sizes(self) -> dict[str, int]:
        """Clips per split."""
        return {"train": self.train, "val": self.val, "test": self.test, "unseen": self.unseen}

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the generator's version."""
        return asdict(self) | {"version": VERSION}
