"""The most salient cells of a map, and how far two such masks overlap.

A threshold at a quantile is wrong on sparse maps: the quantile is 0 and everything passes. The mask holds exactly the top k
cells, and only cells that are strictly positive.
"""

import torch
from torch import Tensor

__all__ = ["mask_iou", "top_mask"]


def top_mask(values: Tensor, share: float, valid: Tensor | None = None, ordered: Tensor | None = None) -> Tensor:
    """The k = round(share · valid cells), at least 1, largest cells among the strictly positive ones; ties go to the first cell.

    Args:
        values: (B, N), finite where valid.
        share: in (0, 1].
        valid: (B, N) bool; None = all cells.
        ordered: (B, N), the values in ascending order, those that are not valid at the end as infinity; None = sort them here.

    Returns:
        (B, N) bool; fewer than k cells where fewer are positive.
    """
    if valid is not None:
        values = values.masked_fill(~valid, -torch.inf)
    if ordered is None:
        ordered = values.masked_fill(values == -torch.inf, torch.inf).sort(dim=1).values
    size = values.shape[1]
    cells = torch.full((len(values),), size, device=values.device) if valid is None else valid.sum(dim=1)
    k = (share * cells.to(torch.float64)).round().to(torch.int64).clamp_min(1)
    least = ordered.gather(1, (cells - k).clamp_min(0)[:, None])
    above, equal = values > least, values == least
    wanted = k[:, None] - above.sum(dim=1, keepdim=True)
    if bool((equal.sum(dim=1, keepdim=True) > wanted).any()):  # ties at the edge of the mask
        equal &= equal.cumsum(dim=1) <= wanted
    return (above | equal) & (values > 0)


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (B,) float64 of masks (B, N); 1 where both are empty, for then they agree."""
    both = (a & b).sum(dim=1).to(torch.float64)
    either = (a | b).sum(dim=1).to(torch.float64)
    return torch.where(either > 0, both / either.clamp_min(1.0), 1.0)
