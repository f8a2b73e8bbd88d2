import numpy as np
import pytest
import torch

from paretolens.evaluators.eps.masks import mask_iou, top_mask
from paretolens.evaluators.eps.ranks import spearman


def brute_mask(values: np.ndarray, share: float, valid: np.ndarray) -> set[int]:
    k = max(1, round(share * int(valid.sum())))
    cells = [i for i in range(len(values)) if valid[i] and values[i] > 0]
    return set(sorted(cells, key=lambda i: (-values[i], i))[:k])


@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("zeros", [0.0, 0.95])
def test_masks_and_iou_equal_brute_force(share: float, zeros: float) -> None:
    rng = np.random.default_rng(int(100 * share))
    a, b = (rng.integers(-3, 9, (30, 41)) * (rng.random((30, 41)) >= zeros) for _ in range(2))
    valid = rng.random((30, 41)) < 0.8
    ma, mb = (top_mask(torch.from_numpy(x).float(), share, torch.from_numpy(valid)) for x in (a, b))
    iou = mask_iou(ma, mb).numpy()
    for row in range(30):
        sa, sb = (brute_mask(x[row], share, valid[row]) for x in (a, b))
        assert set(np.flatnonzero(ma[row].numpy())) == sa
        assert iou[row] == pytest.approx(len(sa & sb) / len(sa | sb) if sa | sb else 1.0)


def test_sparse_map_selects_only_positive_cells() -> None:
    """`>= quantile(.8)` of a map with three positive cells is `>= 0`: everything, and J = 1 between any two."""
    a, b = torch.zeros(1, 100), torch.zeros(1, 100)
    a[0, :3], b[0, 50:53] = 1.0, 1.0
    wrong = mask_iou(a >= a.quantile(0.8), b >= b.quantile(0.8))
    assert float(wrong) == 1.0
    assert int(top_mask(a, 0.2).sum()) == 3
    assert float(mask_iou(top_mask(a, 0.2), top_mask(b, 0.2))) == 0.0


def test_independent_maps_score_about_056() -> None:
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.random((400, 512))) for _ in range(2))
    iou = mask_iou(top_mask(a, 0.2), top_mask(b, 0.2)).mean()
    eps = 0.5 * spearman(a, b).mean() + 0.5 * iou
    assert float(iou) == pytest.approx(1 / 9, abs=0.004)
    assert float(eps) == pytest.approx(0.056, abs=0.004)


def test_scaling_a_map_changes_nothing() -> None:
    a = torch.rand(5, 64)
    assert torch.equal(top_mask(a, 0.2), top_mask(1e-6 * a, 0.2))
    assert float(spearman(a, 1e-6 * a).min()) == pytest.approx(1.0, abs=1e-12)
