"""Where Integrated Gradients looks along the path from the baseline to the input, and with which weights.

The logit of a small student may make half of its way within a two-hundredth of the path. Evenly spaced probes do not see where;
halving the stretch where it moves most does, with one forward pass each time. A stretch so found is a cell of a composite
Gauss–Legendre rule, by default with one node, in its middle. `benchmarks/eps_speed.py` holds it against uniform nodes.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["gauss_legendre", "halving_points", "nodes_in_cells"]


@lru_cache(maxsize=64)
def _legendre(count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return tuple(0.5 * (nodes + 1.0)), tuple(0.5 * weights)


def gauss_legendre(samples: int, count: int) -> tuple[Tensor, Tensor]:
    """The same Gauss–Legendre nodes on [0, 1] for every sample: positions and weights, both (samples, count), float64."""
    nodes, weights = _legendre(count)
    position, weight = torch.tensor(nodes, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)
    return position.expand(samples, -1), weight.expand(samples, -1)


def halving_points(position: Tensor, logit: Tensor, count: int, uniform_share: float) -> Tensor:
    """The middles of the `count` cells of most mass (B, count) float64; see `cell_mass`.

    Args:
        position: (B, P) float64, ascending, from 0 to 1; P > count.
        logit: (B, P) of the model at these positions.
        count: cells to halve.
        uniform_share: in (0, 1].
    """
    cell = cell_mass(position, logit, uniform_share).topk(count, dim=1).indices
    return 0.5 * (position.gather(1, cell) + position.gather(1, cell + 1))


def nodes_in_cells(position: Tensor, logit: Tensor, count: int, uniform_share: float) -> tuple[Tensor, Tensor]:
    """A Gauss–Legendre rule in each cell between two positions: one node each, the others where the mass is.

    Args:
        position: (B, P) float64, ascending, from 0 to 1.
        logit: (B, P) of the model at these positions.
        count: nodes per sample, at least P - 1.
        uniform_share: in (0, 1].

    Returns:
        Positions, ascending, and weights, which sum to 1; both (B, count), float64.
    """
    mass = cell_mass(position, logit, uniform_share)
    number = torch.ones_like(mass, dtype=torch.int64)
    for _ in range(count - mass.shape[1]):
        fullest = (mass / number).argmax(dim=1, keepdim=True)
        number.scatter_add_(1, fullest, torch.ones_like(fullest))
    cell = torch.arange(mass.shape[1]).expand_as(mass).flatten().repeat_interleave(number.flatten()).view(-1, count)
    place = torch.arange(count) - (number.cumsum(dim=1) - number).gather(1, cell)
    nodes, weights = (table[number.gather(1, cell), place] for table in _tables(int(number.max())))
    width = position.diff(dim=1).gather(1, cell)
    return position.gather(1, cell) + width * nodes, width * weights


def cell_mass(position: Tensor, logit: Tensor, uniform_share: float) -> Tensor:
    """(B, P - 1) float64, sums to 1: how much the logit moves in each cell, mixed with `uniform_share` of the cell's width.

    The width keeps a stretch from staying unseen.
    """
    move, width = logit.to(torch.float64).diff(dim=1).abs(), position.diff(dim=1)
    total = move.sum(dim=1, keepdim=True)
    share = torch.where(total > 0, move / total.clamp_min(torch.finfo(torch.float64).tiny), width)
    return (1.0 - uniform_share) * share + uniform_share * width


@lru_cache(maxsize=64)
def _tables(most: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the rules of 1 to `most` nodes, (most + 1, most) each, row by row; 0 where a rule has no such node."""
    tables = torch.zeros(2, most + 1, most, dtype=torch.float64)
    for count in range(1, most + 1):
        for table, values in zip(tables, _legendre(count), strict=True):
            table[count, :count] = torch.tensor(values, dtype=torch.float64)
    return tables[0], tables[1]
