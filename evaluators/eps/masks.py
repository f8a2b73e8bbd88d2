"""The most salient cells of a map, and how far two such masks overlap.

A threshold at a quantile is wrong on sparse maps: the quantile is 0 and everything passes. The mask holds exactly the top k
cells, and only cells that are strictly positive.
"""

import torch
from torch import Tensor

__all__ = ["mask_iou", "top_mask"]


def top_mask(values: Tensor, share: float, valid: Tensor | None = None) -> Tensor:
    """The k = round(share · valid cells), at least 1, largest cells among the strictly positive ones; ties go to the first cell.

    Args:
        values: (B, N), finite where valid.
        share: in (0, 1].
        valid: (B, N) bool; None = all cells.

    Returns:
        (B, N) bool; fewer than k cells where fewer are positive.
    """
    positive = values > 0 if valid is None else (values > 0) & valid
    cells = torch.full((len(values),), values.shape[1], device=values.device) if valid is None else valid.sum(dim=1)
    k = (share * cells.to(torch.float64)).round().clamp_min(1).to(torch.int64)
    order = values.masked_fill(~positive, 0.0).sort(dim=1, descending=True, stable=True).indices
    chosen = torch.arange(values.shape[1], device=values.device).expand_as(order) < k[:, None]
    return torch.zeros_like(positive).scatter_(1, order, chosen) & positive


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (B,) float64 of masks (B, N); 1 where both are empty, for then they agree."""
    both = (a & b).sum(dim=1).to(torch.float64)
    either = (a | b).sum(dim=1).to(torch.float64)
    return torch.where(either > 0, both / either.clamp_min(1.0), 1.0)
