"""Where clips were really manipulated, on the cells of the evidence maps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from paretolens.evaluators.eps import TeacherReference
from paretolens.models.signature import InputKind

__all__ = ["Truth", "true_cells"]

COVERED = 0.5
"""Share of a cell that must be manipulated for the cell to count."""
NEARLY_ALL = 0.9
"""Where more of a map than this is manipulated, pointing at it says nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """True cells of n samples."""

    cells: Mapping[str, Tensor]
    """(n, N) bool by input name, flattened as the maps are; False in padding."""
    known: Mapping[str, Tensor]
    """(n,) bool: samples with something to point at, neither nothing nor nearly everything."""


def true_cells(
    reference: TeacherReference, periods: NDArray[np.floating] | None = None, *, audio_rate: float | None = None
) -> Truth:
    """Regions of pictures, and for fakes whose pictures are untouched the manipulated period of the sound.

    Args:
        reference: its explained set holds the regions (n, T, h, w).
        periods: (n, 2) seconds from the clip's start; None = sound has no known truth.
        audio_rate: audio frames a second; needed with `periods`.
    """
    explained = reference.explained
    cells: dict[str, Tensor] = {}
    for spec in (spec for spec in explained.signature.explained if spec.name in reference.grids):
        maps = reference.grids[spec.name]
        if spec.kind is not InputKind.AUDIO:
            found = covered(explained.regions, maps.shape, len(explained))
        else:
            found = spoken(sound_periods(explained.labels, explained.regions, periods), maps.shape, reference, audio_rate)
        cells[spec.name] = found.flatten(1) & maps.valid
    share = {name: found.sum(1) / reference.grids[name].valid.sum(1).clamp_min(1) for name, found in cells.items()}
    return Truth(cells=cells, known={name: (part > 0) & (part <= NEARLY_ALL) for name, part in share.items()})


def covered(regions: NDArray[np.generic] | None, shape: tuple[int, ...], count: int) -> Tensor:
    """(n, *shape) bool: cells of which at least half is manipulated; regions (n, T, h, w) belong to maps (T, g, g) or (g, g)."""
    if regions is None:
        return torch.zeros((count, *shape), dtype=torch.bool)
    marked = torch.from_numpy(np.asarray(regions, dtype=np.float32))
    share = F.adaptive_avg_pool2d(marked.reshape(-1, 1, *marked.shape[-2:]), (shape[-2], shape[-1]))
    return (share >= COVERED).view(count, *shape)


def sound_periods(
    labels: NDArray[np.generic], regions: NDArray[np.generic] | None, periods: NDArray[np.floating] | None
) -> NDArray[np.floating] | None:
    """(n, 2): the periods of fakes in whose pictures nothing is marked, (0, 0) for the others."""
    if periods is None or regions is None:
        return None
    silent = (np.asarray(labels) <= 0.5) | np.asarray(regions).any(axis=(1, 2, 3))
    return np.where(silent[:, None], 0.0, periods)


def spoken(
    periods: NDArray[np.floating] | None, shape: tuple[int, ...], reference: TeacherReference, audio_rate: float | None
) -> Tensor:
    """(n, *shape) bool: audio cells (time, coefficient) whose middle lies within the period."""
    count = len(reference.explained)
    if periods is None or audio_rate is None:
        return torch.zeros((count, *shape), dtype=torch.bool)
    middle = (np.arange(shape[0]) + 0.5) * reference.settings.audio_pool / audio_rate
    inside = (middle >= periods[:, :1]) & (middle < periods[:, 1:])
    return torch.from_numpy(inside)[:, :, None].expand(count, *shape)
