"""Ranks, masks and their agreement against SciPy and NumPy on maps of ties, zeros, constants and padding."""

import warnings

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata, spearmanr

from paretolens.evaluators.eps import agreement, gate_modalities, mask_iou, rank_maps, spearman, top_mask
from paretolens.evaluators.eps.ranks import centred_ranks

FEW = st.sampled_from([-2.0, -1.0, 0.0, 0.0, 0.5, 1.0, 1.0, 3.0])
MANY = st.floats(-1e6, 1e6, width=32)
SHAPES = st.tuples(st.integers(1, 4), st.integers(2, 40))


@st.composite
def two_maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = draw(SHAPES)
    elements = draw(st.sampled_from([FEW, MANY, st.just(0.0)]))
    a, b = (draw(arrays(np.float32, shape, elements=elements)) for _ in range(2))
    valid = draw(arrays(np.bool_, shape))
    valid[:, :2] = True
    return a, b, valid


@settings(deadline=None, max_examples=150)
@given(two_maps())
def test_spearman_is_scipys_over_the_valid_cells(maps: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    a, b, valid = maps
    found = spearman(torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(valid)).numpy()
    for x, y, ok, rho in zip(a, b, valid, found, strict=True):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SciPy warns of constant maps, which are the point
            expected = spearmanr(x[ok].astype(float), y[ok].astype(float)).statistic
        assert (np.isnan(rho) and np.isnan(expected)) or abs(rho - expected) < 1e-9


@settings(deadline=None, max_examples=150)
@given(two_maps())
def test_ranks_are_scipys_average_ranks(maps: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    a, _, valid = maps
    found = centred_ranks(torch.from_numpy(a), torch.from_numpy(valid)).numpy()
    for x, ok, ranks in zip(a, valid, found, strict=True):
        expected = rankdata(x[ok])
        np.testing.assert_allclose(ranks[ok], expected - expected.mean(), atol=1e-9)
        assert (ranks[~ok] == 0).all()


@settings(deadline=None, max_examples=150)
@given(two_maps(), st.floats(0.01, 1.0))
def test_the_mask_holds_the_first_of_the_largest_positive_cells(
    maps: tuple[np.ndarray, np.ndarray, np.ndarray], share: float
) -> None:
    a, b, valid = maps
    masks = [top_mask(torch.from_numpy(x), share, torch.from_numpy(valid)).numpy() for x in (a, b)]
    for x, ok, mask in zip(a, valid, masks[0], strict=True):
        k = max(1, int(np.round(share * ok.sum())))
        order = [i for i in np.argsort(-x, kind="stable") if ok[i] and x[i] > 0][:k]
        assert set(np.flatnonzero(mask)) == set(order)
    found = mask_iou(*(torch.from_numpy(mask) for mask in masks)).numpy()
    for p, q, iou in zip(*masks, found, strict=True):
        both, either = set(np.flatnonzero(p)) & set(np.flatnonzero(q)), set(np.flatnonzero(p)) | set(np.flatnonzero(q))
        assert iou == (len(both) / len(either) if either else 1.0)


@settings(deadline=None, max_examples=100)
@given(two_maps())
def test_agreement_of_constant_maps(maps: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    a, b, valid = maps
    made = [rank_maps(torch.from_numpy(x), torch.from_numpy(valid), 0.2) for x in (a, b)]
    found = agreement(*made)
    for row, (x, y, ok) in enumerate(zip(a, b, valid, strict=True)):
        flat = [len(np.unique(z[ok])) == 1 for z in (x, y)]
        assert bool(found.both_constant[row]) == all(flat)
        if all(flat):
            assert torch.isnan(found.rho[row]) and torch.isnan(found.iou[row])
        elif any(flat):
            assert float(found.rho[row]) == float(found.iou[row]) == 0.0
        else:
            assert -1.0 <= float(found.rho[row]) <= 1.0 and 0.0 <= float(found.iou[row]) <= 1.0


@settings(deadline=None, max_examples=60)
@given(two_maps(), st.floats(0.01, 100.0))
def test_a_positive_factor_changes_neither_ranks_nor_masks(
    maps: tuple[np.ndarray, np.ndarray, np.ndarray], factor: float
) -> None:
    a, _, valid = maps
    a = np.round(a.astype(np.float64), 3)  # apart enough that a factor makes no new ties
    first, second = (rank_maps(torch.from_numpy(x), torch.from_numpy(valid), 0.2) for x in (a, a * factor))
    assert torch.equal(first.ranks, second.ranks)
    assert torch.equal(first.mask, second.mask)


def test_a_share_that_is_not_known_counts() -> None:
    sums = torch.tensor([[1.0, 0.01], [torch.nan, torch.nan], [0.0, 0.0]], dtype=torch.float64)
    share, counts = gate_modalities(sums, torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64), 0.1)
    assert counts.tolist() == [[True, False], [True, True], [False, False]]
    assert torch.isnan(share[1]).all()
