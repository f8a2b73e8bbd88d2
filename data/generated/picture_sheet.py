"""A contact sheet of generated pictures: each kind from faint to strong, with its manipulated region."""

from pathlib import Path

import numpy as np

from paretolens.data.samples import SampleSet
from paretolens.errors import DataError
from paretolens.files import replacing

__all__ = ["draw_picture_sheet"]


def draw_picture_sheet(sets: dict[str, SampleSet], path: Path, *, per_kind: int = 8) -> None:
    """Write a PNG: one row per kind of the training split and, where it is there, of the unseen one, from faint to strong.

    Args:
        sets: The splits that `prepare_pictures` returned.
        path: The picture to write.
        per_kind: Pictures of each kind.

    Raises:
        DataError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    shown = [sets[split] for split in ("train", "unseen") if split in sets]
    rows = [(samples, kind) for samples in shown for kind in sorted(set(samples.kinds) - {"real"})]
    rows.insert(0, (sets["train"], "real"))
    figure = Figure(figsize=(1.3 * per_kind, 1.45 * len(rows) + 0.4), layout="constrained")
    axes = figure.subplots(len(rows), per_kind, squeeze=False)
    figure.suptitle("Generated pictures: drawn faces. Red: manipulated region; below, its strength.", fontsize=10)
    for line, (samples, kind) in zip(axes, rows, strict=True):
        chosen = _spread(samples, kind, per_kind)
        line[0].set_ylabel(kind, fontsize=8)
        for axis, row in zip(line, chosen, strict=False):
            axis.imshow(samples.arrays["image"][row].transpose(1, 2, 0))
            region, size = samples.regions[row, 0], samples.arrays["image"].shape[-1]
            if region.any():
                centres = (np.arange(region.shape[0]) + 0.5) * size / region.shape[0]
                axis.contour(centres, centres, region.astype(float), levels=[0.5], colors="red", linewidths=0.7)
                axis.set_xlabel(f"{samples.strengths[row]:.2f}", fontsize=7, labelpad=1)
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
    try:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=100, format="png")
    except OSError as error:
        raise DataError(f"contact sheet {path}: cannot be written ({error.strerror}); choose another file") from error


def _spread(samples: SampleSet, kind: str, count: int) -> list[int]:
    """Rows of a kind, evenly from faint to strong."""
    rows = sorted((row for row, name in enumerate(samples.kinds) if name == kind), key=lambda row: float(samples.strengths[row]))
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [rows[place] for place in places]
