"""Means and deviations of a training split, with one sample at a time in memory."""

from pathlib import Path

import numpy as np

from paretolens.data.preprocessing import Normaliser

__all__ = ["clip_scales", "mean_picture"]

ROWS = 64
"""Rows after which arrays are mapped anew, so that pages that were read can go."""


def clip_scales(folder: Path) -> tuple[Normaliser, np.ndarray]:
    """Mean and deviation of the sound, mean picture (3, H, W) float32, over what is not masked.

    Args:
        folder: A split's arrays: input_video, input_audio and their masks.
    """
    names = ("video", "audio", "video_mask", "audio_mask")
    rows, _, *frame = np.load(folder / "input_video.npy", mmap_mode="r").shape
    coefficients = np.load(folder / "input_audio.npy", mmap_mode="r").shape[2]
    image = np.zeros(frame, np.float64)
    total, square = np.zeros(coefficients), np.zeros(coefficients)
    shown = heard = 0
    for start in range(0, rows, ROWS):
        arrays = {name: np.load(folder / f"input_{name}.npy", mmap_mode="r") for name in names}
        for row in range(start, min(rows, start + ROWS)):
            frames = arrays["video"][row][~arrays["video_mask"][row]]
            sounds = arrays["audio"][row][~arrays["audio_mask"][row]].astype(np.float64)
            image += frames.sum(axis=0, dtype=np.float64)
            total, square = total + sounds.sum(axis=0), square + (sounds**2).sum(axis=0)
            shown, heard = shown + len(frames), heard + len(sounds)
    mean = total / max(1, heard)
    deviation = np.sqrt(np.maximum(square / max(1, heard) - mean**2, 1e-6))
    scales = Normaliser(audio_mean=tuple(map(float, mean)), audio_std=tuple(map(float, deviation)))
    return scales, (image / max(1, shown)).astype(np.float32)


def mean_picture(folder: Path) -> np.ndarray:
    """Mean of a split's pictures: (3, H, W) float32 in 0..255."""
    rows, *shape = np.load(folder / "input_image.npy", mmap_mode="r").shape
    image = np.zeros(shape, np.float64)
    for start in range(0, rows, ROWS):
        image += np.load(folder / "input_image.npy", mmap_mode="r")[start : start + ROWS].sum(axis=0, dtype=np.float64)
    mean: np.ndarray = (image / max(1, rows)).astype(np.float32)
    return mean
