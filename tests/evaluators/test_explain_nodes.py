from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from paretolens.evaluators.explain import gauss_legendre
from paretolens.evaluators.explain.nodes import cell_mass, halving_points, nodes_in_cells

Curve = Callable[[Tensor], Tensor]


def halved(curve: Curve, cells: int) -> tuple[Tensor, Tensor]:
    """Positions (1, cells + 1) found by halving, and the curve there."""
    at = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    while at.shape[1] <= cells:
        at = torch.cat([at, halving_points(at, curve(at), 1, 0.15)], dim=1).sort(dim=1).values
    return at, curve(at)


def some_positions(rows: int, count: int) -> Tensor:
    inner = torch.rand(rows, count - 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.zeros(rows, 1), inner, torch.ones(rows, 1)], dim=1).sort(dim=1).values


def test_gauss_legendre_integrates_polynomials_exactly() -> None:
    position, weight = gauss_legendre(2, 4)
    for power in range(8):
        assert float((position[0] ** power * weight[0]).sum()) == pytest.approx(1 / (power + 1), abs=1e-12)


@pytest.mark.parametrize("count", [6, 7, 12, 18, 40])
def test_weights_sum_to_one_and_nodes_ascend(count: int) -> None:
    at = some_positions(5, 7)
    position, weight = nodes_in_cells(at, torch.randn(5, 7), count, 0.15)
    assert position.shape == weight.shape == (5, count)
    torch.testing.assert_close(weight.sum(1), torch.ones(5, dtype=torch.float64))
    assert bool((position.diff(dim=1) > 0).all())
    torch.testing.assert_close((position * weight).sum(1), torch.full((5,), 0.5, dtype=torch.float64))


def test_as_many_nodes_as_cells_are_their_middles() -> None:
    at = some_positions(3, 6)
    position, weight = nodes_in_cells(at, torch.randn(3, 6), 5, 0.15)
    torch.testing.assert_close(position, 0.5 * (at[:, 1:] + at[:, :-1]))
    torch.testing.assert_close(weight, at.diff(dim=1))


def test_more_nodes_go_where_the_mass_is_and_make_a_rule_of_their_own() -> None:
    """Cells of mass .85 · (0, 1, 0) + .15 · width: of 8 nodes the middle one takes 6, exact to degree 11 within it."""
    at = torch.tensor([[0.0, 0.4, 0.5, 1.0]], dtype=torch.float64)
    position, weight = nodes_in_cells(at, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 8, 0.15)
    inside = (position > 0.4) & (position < 0.5)
    nodes, weights = np.polynomial.legendre.leggauss(6)
    np.testing.assert_allclose(position[inside], 0.45 + 0.05 * nodes, atol=1e-12)
    np.testing.assert_allclose(weight[inside], 0.05 * weights, atol=1e-12)


def test_mass_is_movement_mixed_with_width() -> None:
    at = some_positions(2, 5)
    logit = torch.tensor([[0.0, 1.0, -1.0, -1.0, 0.0], [2.0] * 5], dtype=torch.float64)
    found = cell_mass(at, logit, 0.2)
    torch.testing.assert_close(found[0], 0.8 * torch.tensor([0.25, 0.5, 0.0, 0.25]).double() + 0.2 * at[0].diff())
    torch.testing.assert_close(found[1], at[1].diff())  # a logit that stays says nothing


def test_the_cells_of_most_mass_are_halved() -> None:
    at = torch.tensor([[0.0, 0.25, 0.5, 1.0]], dtype=torch.float64)
    points = halving_points(at, torch.tensor([[0.0, 3.0, 3.1, 5.0]]), 2, 0.15)
    assert sorted(points[0].tolist()) == [0.125, 0.75]


def test_a_flat_logit_gives_even_cells() -> None:
    at, _ = halved(torch.zeros_like, 8)
    torch.testing.assert_close(at[0], torch.linspace(0, 1, 9, dtype=torch.float64))


@pytest.mark.parametrize("steep", [200.0, 2000.0])
def test_a_jump_is_integrated_better_than_by_uniform_nodes(steep: float) -> None:
    """The derivative of a steep step and of a slope beside it, integrated with 16 nodes; truth 2."""

    def curve(x: Tensor) -> Tensor:
        return torch.sigmoid(steep * (x - 0.43)) + x

    def slope(x: Tensor) -> Tensor:
        return steep * torch.sigmoid(steep * (x - 0.43)) * torch.sigmoid(-steep * (x - 0.43)) + 1.0

    position, weight = nodes_in_cells(*halved(curve, 16), 16, 0.15)
    uniform, uniform_weight = gauss_legendre(1, 16)
    assert abs(float((slope(position) * weight).sum()) - 2) < 0.1
    assert abs(float((slope(uniform) * uniform_weight).sum()) - 2) > 0.2
