"""Small files that decoders take for what they are: H.264 with AAC, and JPEG, PNG, WebP."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from paretolens.data.generated.encode import write_clip

__all__ = ["Material"]

RATE = 16_000
FORMATS = {".jpg": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP"}


@dataclass(frozen=True, kw_only=True)
class Material:
    """Draws moving gradients; in what is fake a checkered square flickers, or the sound hums. A number draws one scene."""

    side: int = 32
    """Height of videos and pictures in pixels, even; they are a little wider."""
    fps: int = 8
    """Frames a second."""
    seconds: float = 1.0
    """Length of a video."""

    def video(self, path: Path, number: int, *, seen: bool = False, heard: bool = False) -> None:
        """An .mp4 with sound whose picture (`seen`) or sound (`heard`) is manipulated within `period`."""
        count, (first, last) = round(self.seconds * self.fps), self.period
        inside = [first <= frame / self.fps < last for frame in range(count)]
        pictures = np.stack([self._drawn(number, frame, fake=seen and fake) for frame, fake in enumerate(inside)])
        time = np.arange(round(self.seconds * RATE)) / RATE
        wave = 0.1 * np.random.default_rng(number).standard_normal(len(time)) + 0.2 * np.sin(2 * np.pi * (180 + number) * time)
        hum = 0.4 * np.sin(2 * np.pi * 3000 * time) * ((time >= first) & (time < last))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, pictures, self.fps, (wave + heard * hum).astype(np.float32), RATE, crf=18, bit_rate=32_000)

    def mask(self, path: Path) -> None:
        """The .mp4 that is white where `video` draws the square."""
        pictures = np.zeros((round(self.seconds * self.fps), self.side, self.wide, 3), np.uint8)
        pictures[:, self.square, self.square] = 255
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, pictures, self.fps, None, RATE, crf=5, bit_rate=32_000)

    def picture(self, path: Path, number: int, *, fake: bool = False) -> None:
        """A picture in the format that its extension names."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self._drawn(number, 0, fake=fake)).save(path, format=FORMATS[path.suffix], quality=92)

    @property
    def period(self) -> tuple[float, float]:
        """Begin and end of the manipulated part in seconds."""
        return 0.25 * self.seconds, 0.75 * self.seconds

    @property
    def wide(self) -> int:
        """Width in pixels, even."""
        return self.side + self.side // 8 * 2

    @property
    def square(self) -> slice:
        """Rows, and columns, of what is manipulated."""
        return slice(self.side // 4, self.side // 4 * 3)

    def _drawn(self, number: int, frame: int, *, fake: bool) -> np.ndarray:
        generator = np.random.default_rng((number, frame))
        rows, columns = np.mgrid[: self.side, : self.wide]
        shade = 90 + 60 * np.sin((rows + 2 * frame + 5 * number) / 7) + 40 * np.cos((columns + 3 * number) / 9)
        drawn = shade[..., None] + np.array([0, 8, -8]) + generator.normal(0, 4, (self.side, self.wide, 3))
        if fake:
            checks = 24.0 * ((rows // 2 + columns // 2 + frame) % 2) - 12
            drawn[self.square, self.square] += checks[self.square, self.square, None]
        return drawn.clip(0, 255).astype(np.uint8)
