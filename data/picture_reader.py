"""One picture file → a square of pixels. Needs Pillow and numpy only: bundles take this file with them as it is."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

__all__ = ["ENDINGS", "UnreadablePictureError", "read_pixels"]

ENDINGS = (".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Endings of the files that a folder is searched for; what a file is, its content says."""
MOST_PIXELS = 89_000_000
"""Pictures with more are refused before they are decoded (from a little above, Pillow itself warns of them)."""


class UnreadablePictureError(Exception):
    """A picture file is missing or cannot be decoded; the message says why, without the path."""


def read_pixels(path: Path, size: int, fit: str, part: tuple[float, float, float, float] | None = None) -> np.ndarray:
    """Decode a picture, upright as its EXIF data say, without transparency (on black).

    Args:
        path: Any file that Pillow reads; of an animation the first picture.
        size: Height and width of the result.
        fit: "crop" takes the central square, "stretch" all of the picture; both are then resized (bicubic).
        part: Left, top, right, bottom in pixels, taken instead; what lies outside of the picture is black.

    Returns:
        (3, size, size) uint8, RGB.

    Raises:
        UnreadablePictureError: it is missing, no picture, truncated, or too large.
    """
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise UnreadablePictureError(f"it has {opened.width} × {opened.height} pixels, more than {MOST_PIXELS:,}")
            picture = _rgb(ImageOps.exif_transpose(opened))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
        raise UnreadablePictureError(getattr(error, "strerror", None) or str(error).split(": ")[0]) from error
    if part is not None:
        picture = picture.crop((round(part[0]), round(part[1]), round(part[2]), round(part[3])))
        fit = "stretch"
    box = _central(picture.width, picture.height) if fit == "crop" else (0, 0, picture.width, picture.height)
    if box[2] - box[0] != size or box[3] - box[1] != size:
        picture = picture.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    else:
        picture = picture.crop(box)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def _rgb(picture: Image.Image) -> Image.Image:
    """Eight bits a colour: palettes resolved, transparency put on black, 16-bit grey scaled down."""
    if picture.mode.startswith("I") or picture.mode == "F":
        grey = np.asarray(picture, dtype=np.float64)
        top = 65535.0 if grey.max(initial=0.0) > 255.0 else 255.0
        return Image.fromarray((grey.clip(0.0, top) * (255.0 / top)).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered).convert("RGB")
    return picture.convert("RGB")


def _central(width: int, height: int) -> tuple[int, int, int, int]:
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
