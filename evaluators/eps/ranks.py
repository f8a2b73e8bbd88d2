"""Spearman's rank correlation with average ranks for ties, for many maps at once.

Ties matter: evidence maps hold many zeros. Ranks by `argsort(argsort)` break ties by position and make
independent sparse maps correlate.
"""

import numpy as np
import torch
from torch import Tensor

__all__ = ["centred_ranks", "rank_correlation", "spearman"]


def centred_ranks(values: Tensor, valid: Tensor | None = None) -> Tensor:
    """Average ranks minus their mean, so that a dot product is a covariance.

    Args:
        values: (B, N), finite where valid.
        valid: (B, N) bool, the cells that are ranked; None = all.

    Returns:
        (B, N) float64; 0 outside of `valid`. A constant map is 0 everywhere.
    """
    return ranks_and_order(values, valid)[0]


def ranks_and_order(values: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """`centred_ranks`, and the values (B, N) in ascending order, those that are not valid at the end as infinity.

    One sort; a tied run has the mean of its first and its last place.
    """
    if valid is not None:
        values = values.masked_fill(~valid, torch.inf)
    ordered, order = in_order(values)
    rows, size = values.shape
    tied = ordered[:, 1:] == ordered[:, :-1]
    if bool((tied & (ordered[:, 1:] < torch.inf)).any()):
        rank = mean_places(tied)
    else:  # signed maps mostly: each cell's place is its rank, and what is not valid gets none
        rank = torch.arange(size, dtype=torch.float64, device=ordered.device).expand(rows, size)
    ranks = torch.empty(rows, size, dtype=torch.float64, device=ordered.device).scatter_(1, order, rank)
    if valid is None:
        return ranks - 0.5 * (size - 1), ordered
    middle = 0.5 * (valid.sum(dim=1, keepdim=True) - 1).to(torch.float64)
    return (ranks - middle).masked_fill(~valid, 0.0), ordered


def mean_places(tied: Tensor) -> Tensor:
    """(B, N) float64: the mean of the first and the last place of each tied run; `tied` (B, N - 1) joins neighbours."""
    rows, size = len(tied), tied.shape[1] + 1
    new_run = torch.ones(rows, size, dtype=torch.bool, device=tied.device)
    new_run[:, 1:] = ~tied
    first = new_run.flatten().nonzero()[:, 0]
    last = torch.cat([first[1:], first.new_tensor([rows * size])]) - 1
    middle_of_run = 0.5 * (first % size + last % size).to(torch.float64)
    return middle_of_run[new_run.flatten().cumsum(0) - 1].view(rows, size)


def in_order(values: Tensor) -> tuple[Tensor, Tensor]:
    """Ascending values (B, N) and where they came from; the order within ties is any.

    On a CPU NumPy sorts indices with vector instructions where there are some, several times as fast as torch.
    """
    if values.device.type != "cpu":
        ordered, order = values.sort(dim=1)
        return ordered, order
    order = torch.from_numpy(np.argsort(values.detach().numpy(), axis=1))
    return values.gather(1, order), order


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Correlation (B,) of centred ranks (B, N); NaN where either is constant, as SciPy has it."""
    a, b = a.to(torch.float64), b.to(torch.float64)
    spread = (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    return torch.where(spread > 0, (a * b).sum(dim=1) / spread, torch.nan).clamp(-1.0, 1.0)


def spearman(a: Tensor, b: Tensor, valid: Tensor | None = None) -> Tensor:
    """Spearman's rho (B,) float64 between the rows of two (B, N) maps; NaN where either row is constant."""
    return rank_correlation(centred_ranks(a, valid), centred_ranks(b, valid))
