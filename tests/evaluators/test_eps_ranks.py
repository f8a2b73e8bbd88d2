import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from paretolens.evaluators.eps.ranks import centred_ranks, spearman


def sparse(rows: int, cells: int, zeros: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(size=(rows, cells)))
    values[rng.random((rows, cells)) < zeros] = 0.0
    return values


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
def test_ties_are_averaged_as_scipy_does(zeros: float) -> None:
    a, b = sparse(6, 257, zeros, 0), sparse(6, 257, zeros, 1)
    b += 0.3 * a
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    found = spearman(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_few_distinct_values() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 4, (20, 50)), rng.integers(0, 3, (20, 50))
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    found = spearman(torch.from_numpy(a).float(), torch.from_numpy(b).float())
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_padding_is_not_ranked() -> None:
    rng = np.random.default_rng(4)
    a, b, valid = rng.integers(-5, 5, (8, 60)).astype(float), rng.normal(size=(8, 60)), rng.random((8, 60)) < 0.7
    expected = [spearmanr(x[v], y[v]).statistic for x, y, v in zip(a, b, valid, strict=True)]
    found = spearman(torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(valid))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


def test_centred_ranks_are_scipys_ranks_less_their_mean() -> None:
    values = np.random.default_rng(5).integers(0, 9, (3, 40)).astype(np.float32)
    expected = rankdata(values, axis=1) - 20.5
    np.testing.assert_array_equal(centred_ranks(torch.from_numpy(values)).numpy(), expected)


def test_constant_map_gives_nan_as_scipy_does() -> None:
    constant, other = torch.ones(1, 10), torch.arange(10.0)[None]
    assert torch.isnan(spearman(constant, other)).all()
    assert torch.isnan(spearman(other, constant)).all()


def test_independent_sparse_maps_do_not_correlate() -> None:
    """`argsort(argsort)` gave .63 here: it ranks the zeros by their position."""
    a, b = sparse(200, 512, 0.9, 6), sparse(200, 512, 0.9, 7)
    broken = [[np.argsort(np.argsort(row, kind="stable")) for row in x] for x in (a, b)]
    wrong = np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(*broken, strict=True)])
    assert wrong > 0.4
    assert abs(float(spearman(torch.from_numpy(a), torch.from_numpy(b)).mean())) < 0.01
