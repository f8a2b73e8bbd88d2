"""From attributions to the maps that are compared: signed pixel maps, and evidence pooled to a grid.

s = sign of the teacher's logit. Signed map P = s·Σ_channels A. Evidence E = relu(P), averaged over the cells of a grid: what
speaks for the teacher's verdict, blurred to what a person can see. Padding belongs to no cell.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from paretolens.evaluators.eps.settings import EpsSettings
from paretolens.models.signature import InputKind

__all__ = ["evidence_map", "grid_shape", "grid_valid", "pixel_valid", "signed_map", "to_common_grid"]

CHANNEL_AXIS = {InputKind.VIDEO: 2, InputKind.IMAGE: 1}
AXES = {InputKind.VIDEO: 5, InputKind.IMAGE: 4}
"""Axes of an attribution that has channels."""


def signed_map(attribution: Tensor, kind: InputKind, sign: Tensor) -> Tensor:
    """s·Σ_channels A: video (B, T, 3, H, W) → (B, T, H, W), image (B, 3, H, W) → (B, H, W), audio stays; `sign` is (B,).

    An attribution that comes without the channel axis stays as it is.
    """
    axis = CHANNEL_AXIS.get(kind) if attribution.dim() == AXES.get(kind) else None
    total = attribution if axis is None else attribution.sum(dim=axis)
    return total * sign.to(total).view(-1, *[1] * (total.dim() - 1))


def grid_shape(shape: tuple[int, ...], kind: InputKind, settings: EpsSettings) -> tuple[int, ...]:
    """Shape of the evidence map of an input of `shape` (no batch axis): video (T, g, g), image (g, g), audio (⌈L/pool⌉, F)."""
    if kind is InputKind.AUDIO:
        return (-(-shape[0] // settings.audio_pool), shape[1])
    grid = settings.video_grid if kind is InputKind.VIDEO else settings.image_grid
    picture = (min(grid, shape[-2]), min(grid, shape[-1]))
    return (shape[0], *picture) if kind is InputKind.VIDEO else picture


def evidence_map(signed: Tensor, kind: InputKind, settings: EpsSettings, ignored: Tensor | None = None) -> Tensor:
    """relu of a signed map, averaged over the grid's cells.

    Args:
        signed: as `signed_map` gives it.
        kind: what the input holds.
        settings: grids and pooling.
        ignored: (B, T) or (B, L) bool, True = padding; padded audio frames do not enter the mean of their cell.

    Returns:
        (B, *grid_shape) of the same dtype.
    """
    evidence = signed.relu()
    if kind is InputKind.AUDIO:
        return pool_time(evidence, settings.audio_pool, ignored)
    grid = settings.video_grid if kind is InputKind.VIDEO else settings.image_grid
    height, width = evidence.shape[-2:]
    cells = (min(grid, height), min(grid, width))
    pooled = F.adaptive_avg_pool2d(evidence.reshape(-1, 1, height, width), cells)
    return pooled.view(*evidence.shape[:-2], *cells)


def pool_time(evidence: Tensor, pool: int, ignored: Tensor | None) -> Tensor:
    """Mean over groups of `pool` frames of (B, L, F), of the frames that are not ignored; 0 where a group has none."""
    weight = torch.ones(evidence.shape[:2], dtype=evidence.dtype, device=evidence.device)
    if ignored is not None:
        weight = weight.masked_fill(ignored, 0.0)
    missing = -evidence.shape[1] % pool
    total = F.pad(evidence * weight[..., None], (0, 0, 0, missing)).unflatten(1, (-1, pool)).sum(dim=2)
    count = F.pad(weight, (0, missing)).unflatten(1, (-1, pool)).sum(dim=2)
    mean: Tensor = total / count.clamp_min(1.0)[..., None]
    return mean


def pixel_valid(ignored: Tensor | None, samples: int, shape: tuple[int, ...]) -> Tensor:
    """(B, *shape) bool, False in padded frames; `shape` is that of a signed map without the batch."""
    if ignored is None:
        return torch.ones((samples, *shape), dtype=torch.bool)
    return (~ignored).view(samples, -1, *[1] * (len(shape) - 1)).expand(samples, *shape)


def grid_valid(ignored: Tensor | None, samples: int, shape: tuple[int, ...], kind: InputKind, pool: int) -> Tensor:
    """(B, *shape) bool for an evidence map of `shape`: an audio cell is valid with at least one frame that is not padding."""
    if ignored is not None and kind is InputKind.AUDIO:
        ignored = F.pad(ignored, (0, -ignored.shape[1] % pool), value=True).unflatten(1, (-1, pool)).all(dim=2)
    return pixel_valid(ignored, samples, shape)


def to_common_grid(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps (B, ..., H, W) averaged over area to the coarser of their grids, axis by axis (patch logits of two networks)."""
    cells = (min(a.shape[-2], b.shape[-2]), min(a.shape[-1], b.shape[-1]))

    def shrink(x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x.reshape(-1, 1, *x.shape[-2:]), cells).view(*x.shape[:-2], *cells)

    return shrink(a), shrink(b)
