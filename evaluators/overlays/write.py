"""Which samples are drawn, and writing their pictures."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paretolens.evaluators.eps import EpsScore, TeacherReference
from paretolens.evaluators.overlays.figure import draw_overlay
from paretolens.exporters.files import write_atomic

__all__ = ["draw_overlays", "pick_samples", "write_overlays"]


def pick_samples(score: EpsScore) -> dict[str, int]:
    """Rows of the best, the median and the worst scored sample."""
    known = np.flatnonzero(~np.isnan(score.samples.eps))
    order = known[np.argsort(score.samples.eps[known], kind="stable")]
    return {"best": int(order[-1]), "median": int(order[len(order) // 2]), "worst": int(order[0])}


def draw_overlays(reference: TeacherReference, score: EpsScore, rows: Mapping[str, int] | None = None) -> dict[str, bytes]:
    """PNG images by name; the best, median and worst sample by default."""
    chosen = pick_samples(score) if rows is None else rows
    return {name: draw_overlay(reference, score, row, name) for name, row in chosen.items()}


def write_overlays(
    reference: TeacherReference, score: EpsScore, folder: Path, rows: Mapping[str, int] | None = None
) -> list[Path]:
    """Write `overlay_<name>.png` into a folder, each file renamed into place.

    Raises:
        StoreError: the folder cannot be written.
    """
    pictures = {folder / f"overlay_{name}.png": content for name, content in draw_overlays(reference, score, rows).items()}
    for path, content in pictures.items():
        write_atomic(path, content)
    return list(pictures)
