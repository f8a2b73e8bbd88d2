"""What each patch of a picture says, drawn over it; shipped in bundles of patch detectors as heatmap.py.

Needs only numpy and pillow. Red speaks for fake, blue for real; where nothing speaks the picture shows through.
"""

from pathlib import Path

import numpy as np

__all__ = ["blended", "on_pixels", "write_heatmap"]

STRENGTH = 0.65
"""Opacity of the strongest place."""
FAKE, REAL = (214, 39, 40), (31, 119, 180)


def write_heatmap(path: Path, pixels: np.ndarray, patches: np.ndarray, size: int, stride: int) -> None:
    """Draw patch logits over a picture, as a PNG.

    Args:
        path: where it goes.
        pixels: (3, H, W) uint8 RGB, as the model saw them.
        patches: (h, w) logits, positive = fake.
        size: pixels along a side of a patch.
        stride: pixels between neighbouring patches.
    """
    from PIL import Image

    values = on_pixels(patches, pixels.shape[1:], size, stride)
    Image.fromarray(blended(pixels.transpose(1, 2, 0), values)).save(path, format="PNG")


def on_pixels(patches: np.ndarray, shape: tuple[int, ...], size: int, stride: int) -> np.ndarray:
    """(h, w) → (H, W): linear between the centres of the patches, and as the nearest patch beyond the outermost."""
    found = patches.astype(np.float64)
    for side in reversed(shape):  # columns, then rows: each pass turns the map
        centres = np.arange(found.shape[1]) * stride + (size - 1) / 2
        found = np.stack([np.interp(np.arange(side), centres, row) for row in found], axis=1)
    return found


def blended(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: the picture under colours whose opacity grows with what a place says; 99 % of the places set the scale."""
    most = max(float(np.quantile(np.abs(values), 0.99)), 1e-12)
    opacity = np.clip(np.abs(values) / most, 0, 1)[..., None] * STRENGTH
    colour = np.where(values[..., None] > 0, np.array(FAKE, np.float64), np.array(REAL, np.float64))
    drawn: np.ndarray = np.rint(pixels * (1 - opacity) + colour * opacity).astype(np.uint8)
    return drawn
