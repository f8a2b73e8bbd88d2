import numpy as np
import pytest
import torch

from paretolens.evaluators.explain import adaptive_nodes, gauss_legendre, probe_positions
from paretolens.evaluators.explain.nodes import cell_edges


def test_gauss_legendre_integrates_polynomials_exactly() -> None:
    position, weight = gauss_legendre(2, 4)
    for power in range(8):
        assert float((position[0] ** power * weight[0]).sum()) == pytest.approx(1 / (power + 1), abs=1e-12)


@pytest.mark.parametrize("count", [1, 5, 6, 16, 18])
def test_adaptive_weights_sum_to_one_and_nodes_ascend(count: int) -> None:
    logit = torch.randn(7, 12, dtype=torch.float64)
    position, weight = adaptive_nodes(probe_positions(12), logit, count, 0.15)
    torch.testing.assert_close(weight.sum(1), torch.ones(7, dtype=torch.float64))
    assert bool((position.diff(dim=1) > 0).all())
    torch.testing.assert_close((position * weight).sum(1), torch.full((7,), 0.5, dtype=torch.float64))


def test_cells_are_the_inverse_of_the_cumulated_mass() -> None:
    at = np.linspace(0, 1, 9)
    logit = np.tanh(12 * (at - 0.6))
    mass = 0.85 * np.abs(np.diff(logit)) / np.abs(np.diff(logit)).sum() + 0.15 * np.diff(at)
    expected = np.interp(np.linspace(0, 1, 11), np.concatenate([[0], np.cumsum(mass)]), at)
    edges = cell_edges(torch.from_numpy(at), torch.from_numpy(logit)[None], 10, 0.15)
    np.testing.assert_allclose(edges[0].numpy(), expected, atol=1e-9)


def test_a_flat_logit_gives_even_cells() -> None:
    edges = cell_edges(probe_positions(6), torch.zeros(1, 6), 4, 0.15)
    torch.testing.assert_close(edges[0], torch.linspace(0, 1, 5, dtype=torch.float64))


@pytest.mark.parametrize(("count", "degree"), [(3, 1), (8, 3)])
def test_polynomials_are_integrated_exactly_in_each_cell(count: int, degree: int) -> None:
    position, weight = adaptive_nodes(probe_positions(7), torch.randn(2, 7), count, 0.15)
    torch.testing.assert_close((position**degree * weight).sum(1), torch.full((2,), 1 / (degree + 1), dtype=torch.float64))


def test_a_jump_is_integrated_better_than_by_uniform_nodes() -> None:
    """The derivative of a steep step, integrated with 16 nodes; truth 1."""

    def slope(x: torch.Tensor) -> torch.Tensor:
        return 100.0 * torch.sigmoid(200 * (x - 0.43)) * torch.sigmoid(-200 * (x - 0.43)) * 2

    at = probe_positions(24)
    position, weight = adaptive_nodes(at, torch.sigmoid(200 * (at - 0.43))[None], 16, 0.15)
    uniform, uniform_weight = gauss_legendre(1, 16)
    assert abs(float((slope(position) * weight).sum()) - 1) < 0.1
    assert abs(float((slope(uniform) * uniform_weight).sum()) - 1) > 0.4
