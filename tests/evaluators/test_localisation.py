from fractions import Fraction

import numpy as np
import pytest

from paretolens.errors import DataError, TrialError
from paretolens.evaluators.localisation import (
    RECALL_IOUS,
    SoftNms,
    interval_iou,
    localisation_metrics,
    proposals_of_scores,
    soft_nms,
)


def test_iou_by_hand() -> None:
    found = interval_iou([[0, 2], [1, 1], [5, 6]], [[1, 3], [1, 1]])
    assert found == pytest.approx(np.array([[1 / 3, 0], [0, 0], [0, 0]]))


def test_perfect_proposals_score_one() -> None:
    truth = [[[1, 2], [4, 6]], [], [[0, 3]]]
    found = localisation_metrics(truth, [[[1, 2, 0.9], [4, 6, 0.8]], [], [[0, 3, 0.7]]])
    assert found.to_metrics() == {
        "ap_50": 1, "ap_75": 1, "ap_95": 1, "ar_100": 1, "ar_50": 1, "ar_20": 1, "ar_10": 1,
    }  # fmt: skip
    assert (found.videos, found.periods) == (3, 3)


def test_average_precision_by_hand() -> None:
    # ranked over both videos: right (.9), wrong (.8, a real video's), right (.7), wrong (.6, the period is taken already)
    truth = [[[0, 10], [20, 30]], []]
    proposals = [[[0, 10, 0.9], [20, 28, 0.7], [0, 9, 0.6]], [[3, 5, 0.8]]]
    found = localisation_metrics(truth, proposals, precision_at=(0.5, 0.8, 0.85), recall_at=(1, 2))
    assert found.average_precision[0.5] == pytest.approx((1 + 2 / 3) / 2)
    assert found.average_precision[0.8] == pytest.approx((1 + 2 / 3) / 2)  # an IoU of exactly .8 reaches .8
    assert found.average_precision[0.85] == pytest.approx(1 / 2)
    assert found.average_recall[1] == pytest.approx(1 / 2)  # the first period at every threshold
    assert found.average_recall[2] == pytest.approx((10 + 7) / 20)  # .8 reaches .5, .55, … .8: seven of ten


def test_against_plain_loops() -> None:
    generator = np.random.default_rng(4)
    truth, proposals = [], []
    for count in generator.integers(0, 4, 12):
        starts = np.sort(generator.integers(0, 20, count))
        truth.append([[int(s), int(s) + 4] for s in starts])
        made = generator.integers(0, 20, (6, 1)) + np.array([[0, 4]]) + generator.integers(0, 2, (6, 2))
        proposals.append(np.column_stack((made, generator.permutation(72)[:6] + 100 * generator.random(6))).tolist())
    found = localisation_metrics(truth, proposals, recall_at=(3, 6))
    for threshold, value in found.average_precision.items():
        assert value == pytest.approx(float(plain_precision(truth, proposals, threshold)))
    for count, value in found.average_recall.items():
        assert value == pytest.approx(plain_recall(truth, proposals, count))


def plain_iou(a: list[float], b: list[float]) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / (max(a[1], b[1]) - min(a[0], b[0])) if shared else 0.0


def plain_precision(truth: list, proposals: list, threshold: float) -> Fraction:
    ranked = sorted(((p[2], video, p) for video, ps in enumerate(proposals) for p in ps), key=lambda item: -item[0])
    taken: set[tuple[int, int]] = set()
    hits, points, total = 0, [], sum(map(len, truth))
    for rank, (_, video, p) in enumerate(ranked, start=1):
        free = [(plain_iou(p, t), i) for i, t in enumerate(truth[video]) if (video, i) not in taken]
        best = max(free, default=(0.0, -1), key=lambda item: (item[0], -item[1]))
        if best[0] >= threshold:
            taken.add((video, best[1]))
            hits += 1
        points.append((Fraction(hits, total), Fraction(hits, rank)))
    area, before = Fraction(0), Fraction(0)
    for place, (recall, _) in enumerate(points):
        area += (recall - before) * max(precision for _, precision in points[place:])
        before = recall
    return area


def plain_recall(truth: list, proposals: list, count: int) -> float:
    total = sum(map(len, truth))
    shares = []
    for threshold in RECALL_IOUS:
        met = 0
        for video, periods in enumerate(truth):
            best = sorted(proposals[video], key=lambda p: -p[2])[:count]
            met += sum(any(plain_iou(p, t) >= threshold for p in best) for t in periods)
        shares.append(met / total)
    return float(np.mean(shares))


def test_soft_nms_by_hand() -> None:
    plain = SoftNms(alpha=0.5, low=0.0, high=0.0)
    found = soft_nms([[0, 4, 0.8], [0, 2, 0.9], [6, 8, 0.5]], 10.0, plain)
    weakened = 0.8 * np.exp(-(0.5**2) / 0.5)  # .485, below .5
    assert found == pytest.approx(np.array([[0, 2, 0.9], [6, 8, 0.5], [0, 4, weakened]]))


def test_soft_nms_leaves_long_neighbours_alone() -> None:
    pair = [[0, 8, 0.9], [0, 6, 0.8]]  # IoU .75; the threshold beside 8 s of 10 is .5 + .4 · .8 = .82, beside 8 s of 80 .54
    assert soft_nms(pair, 10.0)[1, 2] == pytest.approx(0.8)
    assert soft_nms(pair, 80.0)[1, 2] == pytest.approx(0.8 * np.exp(-(0.75**2) / 0.4))
    assert len(soft_nms(pair, 10.0, SoftNms(keep=1))) == 1


def test_scores_propose_the_period_that_stands_out() -> None:
    scores = np.full(40, 0.1)
    scores[10:18] = 0.9
    scores[30] = 0.4
    found = soft_nms(proposals_of_scores(scores, 20.0), 20.0)
    assert found[0] == pytest.approx([5.0, 9.0, 0.9 - 0.05])
    assert [15.0, 15.5] in found[:, :2].tolist()
    metrics = localisation_metrics([[[5.0, 9.0]]], [found])
    assert metrics.average_precision == pytest.approx({0.5: 1.0, 0.75: 1.0, 0.95: 1.0})


def test_nothing_to_find_is_no_number() -> None:
    found = localisation_metrics([[], []], [[[0, 1, 0.5]], []])
    assert found.to_metrics() == {}
    assert localisation_metrics([[[0, 1]]], [[]]).to_metrics() == dict.fromkeys(
        ("ap_50", "ap_75", "ap_95", "ar_100", "ar_50", "ar_20", "ar_10"), 0.0
    )


@pytest.mark.parametrize(
    ("truth", "proposals", "kind", "words"),
    [
        ([[[2, 1]]], [[]], DataError, "must not end before it starts, got 2 to 1 s"),
        ([[[0, 1]]], [[[0, 1, np.nan]]], TrialError, "proposal must be finite"),
        ([[[0, 1]]], [], DataError, "got 1 videos and 0 lists"),
    ],
)
def test_wrong_input_is_named(truth: list, proposals: list, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        localisation_metrics(truth, proposals)


def test_a_video_must_last() -> None:
    with pytest.raises(DataError, match="must last"):
        soft_nms([[0, 1, 1]], 0.0)
