"""Where Integrated Gradients looks along the path from the baseline to the input, and with which weights."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["adaptive_nodes", "gauss_legendre", "probe_positions"]


@lru_cache(maxsize=64)
def _legendre(count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return tuple(0.5 * (nodes + 1.0)), tuple(0.5 * weights)


def gauss_legendre(samples: int, count: int) -> tuple[Tensor, Tensor]:
    """The same Gauss–Legendre nodes on [0, 1] for every sample: positions and weights, both (samples, count), float64."""
    nodes, weights = _legendre(count)
    position, weight = torch.tensor(nodes, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)
    return position.expand(samples, -1), weight.expand(samples, -1)


def probe_positions(count: int) -> Tensor:
    """Evenly spaced positions (count,) on [0, 1], both ends included, float64."""
    return torch.linspace(0.0, 1.0, count, dtype=torch.float64)


def adaptive_nodes(position: Tensor, logit: Tensor, count: int, uniform_share: float) -> tuple[Tensor, Tensor]:
    """Nodes dense where the logit moves: a Gauss–Legendre rule in each of several cells of equal mass.

    Mass is spread over [0, 1] as |Δlogit| between probes, mixed with `uniform_share` of uniform mass so that no stretch
    stays unseen. The edges of the cells are the inverse of its cumulative sum. Two points a cell (one for odd counts)
    are better than as many midpoints where the path is smooth, and than four points a cell where the logit jumps.

    Args:
        position: (P,) float64, ascending, from 0 to 1.
        logit: (B, P) of the model at these positions.
        count: nodes per sample.
        uniform_share: in (0, 1].

    Returns:
        Positions, ascending, and weights, which sum to 1; both (B, count), float64.
    """
    points = 2 - count % 2
    edges = cell_edges(position, logit, count // points, uniform_share)
    nodes, weights = (torch.tensor(part, dtype=torch.float64) for part in _legendre(points))
    width = edges.diff(dim=1)[..., None]
    return (edges[:, :-1, None] + width * nodes).flatten(1), (width * weights).flatten(1)


def cell_edges(position: Tensor, logit: Tensor, cells: int, uniform_share: float) -> Tensor:
    """Edges (B, cells + 1) of cells of equal mass; see `adaptive_nodes`."""
    position = position.to(torch.float64)
    move = logit.to(torch.float64).diff(dim=1).abs()
    width = position.diff().expand_as(move)
    total = move.sum(dim=1, keepdim=True)
    share = torch.where(total > 0, move / total.clamp_min(torch.finfo(torch.float64).tiny), width)
    mass = (1.0 - uniform_share) * share + uniform_share * width
    below = torch.cat([torch.zeros_like(mass[:, :1]), mass.cumsum(dim=1)], dim=1)
    wanted = torch.linspace(0.0, 1.0, cells + 1, dtype=torch.float64).expand(len(mass), -1).contiguous() * below[:, -1:]
    segment = (torch.searchsorted(below, wanted, right=True) - 1).clamp(0, mass.shape[1] - 1)
    inside = (wanted - below.gather(1, segment)) / mass.gather(1, segment)
    edges = (position[segment] + inside * width.gather(1, segment)).clamp(0.0, 1.0)
    edges[:, 0], edges[:, -1] = 0.0, 1.0
    return edges
