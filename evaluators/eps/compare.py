"""Maps with their ranks and masks, and how well a student's agree with the teacher's."""

from dataclasses import dataclass

import torch
from torch import Tensor

from paretolens.evaluators.eps.maps import evidence_map, grid_valid, pixel_valid, signed_map
from paretolens.evaluators.eps.masks import mask_iou, top_mask
from paretolens.evaluators.eps.ranks import rank_correlation, ranks_and_order
from paretolens.evaluators.eps.settings import EpsSettings
from paretolens.models.signature import InputKind

__all__ = ["Agreement", "RankedMaps", "agreement", "rank_maps", "ranked_maps_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedMaps:
    """Maps of n samples of one modality, flattened to N cells, with what comparing needs."""

    values: Tensor
    """(n, N) float32."""
    ranks: Tensor
    """(n, N) float32, centred average ranks: halves, exact up to 8 million cells; 0 in padding and on constant maps."""
    mask: Tensor
    """(n, N) bool, the top share of the strictly positive cells."""
    valid: Tensor
    """(n, N) bool, False in padding."""
    shape: tuple[int, ...]
    """Shape of a map, N its product."""

    def rows(self, index: Tensor, device: torch.device) -> "RankedMaps":
        """Some samples, on a device; neighbours are not copied."""
        first, count = int(index[0]), len(index)
        together = int(index[-1]) - first + 1 == count and bool((index.diff() == 1).all())
        chosen = slice(first, first + count) if together else index
        parts = {name: getattr(self, name)[chosen].to(device) for name in ("values", "ranks", "mask", "valid")}
        return RankedMaps(shape=self.shape, **parts)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two models' maps of one modality, sample by sample."""

    rho: Tensor
    """(B,) float64, Spearman; 0 where one map is constant, NaN where both are."""
    iou: Tensor
    """(B,) float64, IoU of the top-share masks; 0 where one map is constant, NaN where both are."""
    both_constant: Tensor
    """(B,) bool: nothing to compare, the sample is dropped and counted."""
    one_constant: Tensor
    """(B,) bool."""


def rank_maps(values: Tensor, valid: Tensor, share: float) -> RankedMaps:
    """Rank and mask maps (n, ...) with the cells `valid` of the same shape."""
    shape, flat, ok = tuple(values.shape[1:]), values.flatten(1), valid.flatten(1)
    ranks, ordered = ranks_and_order(flat, None if bool(ok.all()) else ok)
    mask = top_mask(flat, share, ok, ordered)
    return RankedMaps(values=flat, ranks=ranks.to(torch.float32), mask=mask, valid=ok, shape=shape)


def ranked_maps_of(
    attribution: Tensor, kind: InputKind, sign: Tensor | None, settings: EpsSettings, ignored: Tensor | None
) -> tuple[RankedMaps, RankedMaps | None]:
    """Evidence maps on the grid, and signed maps of full resolution (None where the settings leave pixels out).

    `sign` is the side that the teacher chose, (B,); None for attributions that have no side.
    """
    side = torch.ones(len(attribution), device=attribution.device) if sign is None else sign
    signed = signed_map(attribution, kind, side)
    evidence = evidence_map(signed, kind, settings, ignored)
    count, device = len(signed), signed.device
    cells = grid_valid(ignored, count, tuple(evidence.shape[1:]), kind, settings.audio_pool).to(device)
    grid = rank_maps(evidence, cells, settings.top_share)
    if not settings.pixels:
        return grid, None
    pixels = pixel_valid(ignored, count, tuple(signed.shape[1:])).to(device)
    return grid, rank_maps(signed, pixels, settings.top_share)


def agreement(teacher: RankedMaps, student: RankedMaps) -> Agreement:
    """Spearman and IoU of the same samples' maps, with the rules for constant maps."""
    flat_teacher, flat_student = is_constant(teacher), is_constant(student)
    both, one = flat_teacher & flat_student, flat_teacher ^ flat_student
    rho = rank_correlation(teacher.ranks, student.ranks).masked_fill(one, 0.0).masked_fill(both, torch.nan)
    iou = mask_iou(teacher.mask, student.mask).masked_fill(one, 0.0).masked_fill(both, torch.nan)
    return Agreement(rho=rho, iou=iou, both_constant=both, one_constant=one)


def is_constant(maps: RankedMaps) -> Tensor:
    """(B,) bool: every valid cell has the same value."""
    return (maps.ranks == 0).all(dim=1) | (maps.valid.sum(dim=1) < 2)
