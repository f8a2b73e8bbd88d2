"""Where in time a fake lies: average precision and recall of proposed periods, as LAV-DF is scored. Pure functions on arrays.

A proposal is (start, end, score), a true period (start, end), all times in seconds of one video. Definitions: proposals of all
videos are ranked together; one is right if it overlaps a true period that no better one has taken by an IoU of at least the
threshold; AP is the area under the precision that is made to fall with recall (Everingham et al. 2010, section 4.2; as the
ActivityNet and LAV-DF tools take it). AR@N is the share of true periods that some of the N best proposals meets, averaged over
the IoU thresholds .5, .55, … .95 (Cai et al. 2022).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import ArrayLike, NDArray

from paretolens.errors import DataError, TrialError

__all__ = [
    "LocalisationMetrics",
    "SoftNms",
    "interval_iou",
    "localisation_metrics",
    "proposals_of_scores",
    "soft_nms",
]

Floats = NDArray[np.float64]

PRECISION_AT = (0.5, 0.75, 0.95)
RECALL_AT = (100, 50, 20, 10)
RECALL_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_SLACK = 1e-9
"""An IoU that equals a threshold but for rounding reaches it."""


@dataclass(frozen=True, kw_only=True)
class LocalisationMetrics:
    """Scores of one set; each lies in 0..1, higher is better. NaN where no video has a true period."""

    average_precision: Mapping[float, float]
    """IoU threshold → AP."""
    average_recall: Mapping[int, float]
    """Proposals per video → AR."""
    videos: int
    """Number of videos."""
    periods: int
    """Number of true periods in them."""

    def to_metrics(self) -> dict[str, float]:
        """The scores by name (`ap_50`, `ar_100`, …), without those that are NaN."""
        named = {f"ap_{round(100 * iou)}": value for iou, value in self.average_precision.items()}
        named |= {f"ar_{count}": value for count, value in self.average_recall.items()}
        return {name: value for name, value in named.items() if not np.isnan(value)}


@dataclass(frozen=True, kw_only=True)
class SoftNms:
    """How overlapping proposals are weakened: s ← s·exp(−IoU²/alpha) where IoU is above a threshold (Bodla et al. 2017, eq. 3).

    The threshold is low + (high − low)·w with w the better proposal's length as a share of the video (Lin et al. 2018, BSN).
    """

    alpha: Annotated[float, Gt(0)] = 0.4
    """Width of the Gaussian; smaller weakens more."""
    low: Annotated[float, Ge(0), Le(1)] = 0.5
    """Threshold beside the shortest proposals; 0 for both gives the plain form."""
    high: Annotated[float, Ge(0), Le(1)] = 0.9
    """Threshold beside a proposal as long as the video."""
    keep: Annotated[int, Ge(1)] = 100
    """Most proposals that are kept for a video."""


def localisation_metrics(
    truth: Sequence[ArrayLike],
    proposals: Sequence[ArrayLike],
    *,
    precision_at: Sequence[float] = PRECISION_AT,
    recall_at: Sequence[int] = RECALL_AT,
) -> LocalisationMetrics:
    """AP and AR of one set.

    Args:
        truth: per video (P, 2), its manipulated periods; none for a real video, whose proposals are all wrong.
        proposals: per video (M, 3), after `soft_nms` if it is to be.
        precision_at: IoU thresholds of AP.
        recall_at: numbers of proposals of AR.

    Raises:
        DataError: not as many videos, a period that ends before it starts.
        TrialError: a proposal is not finite.
    """
    if len(truth) != len(proposals):
        raise DataError(f"every video needs its proposals, got {len(truth)} videos and {len(proposals)} lists of proposals")
    periods = [_periods(video, "period", 2) for video in truth]
    ranked = [_ranked(_periods(video, "proposal", 3)) for video in proposals]
    overlaps = [interval_iou(video[:, :2], true) for video, true in zip(ranked, periods, strict=True)]
    scores = np.concatenate([video[:, 2] for video in ranked]) if ranked else np.zeros(0)
    count = sum(len(video) for video in periods)
    return LocalisationMetrics(
        average_precision={iou: _average_precision(overlaps, scores, count, iou) for iou in precision_at},
        average_recall={best: _average_recall(overlaps, count, best) for best in recall_at},
        videos=len(truth),
        periods=count,
    )


def interval_iou(left: ArrayLike, right: ArrayLike) -> Floats:
    """(M, 2) and (P, 2) → (M, P), shared time over the time of either; 0 where neither lasts."""
    a, b = np.asarray(left, dtype=np.float64).reshape(-1, 1, 2), np.asarray(right, dtype=np.float64).reshape(1, -1, 2)
    shared = np.clip(np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]), 0.0, None)
    whole = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - shared
    found: Floats = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return found


def soft_nms(proposals: ArrayLike, duration: float, settings: SoftNms | None = None) -> Floats:
    """Proposals of one video, best first, those that overlap a better one weakened.

    Args:
        proposals: (M, 3).
        duration: of the video in seconds, > 0.
        settings: how; the defaults if None.

    Returns:
        (≤ keep, 3) in the order in which they were picked; scores fall.
    """
    settings = settings or SoftNms()
    if not duration > 0:
        raise DataError(f"a video must last, got a duration of {duration:g} s")
    left = _periods(proposals, "proposal", 3).copy()
    picked: list[Floats] = []
    while len(left) and len(picked) < settings.keep:
        best = int(left[:, 2].argmax())
        chosen = left[best].copy()
        picked.append(chosen)
        left = np.delete(left, best, axis=0)
        overlap = interval_iou(left[:, :2], chosen[:2])[:, 0]
        share = min(1.0, (chosen[1] - chosen[0]) / duration)
        above = overlap > settings.low + (settings.high - settings.low) * share
        left[above, 2] *= np.exp(-(overlap[above] ** 2) / settings.alpha)
    return np.array(picked, dtype=np.float64).reshape(-1, 3)


def proposals_of_scores(scores: ArrayLike, duration: float, *, levels: int = 19) -> Floats:
    """Periods that a model's scores along a video propose: every run of frames above each of some levels.

    A run's score is its mean probability less half the mean just around it (a quarter of its length on either side), so that of
    nested runs the one with the sharpest ends leads (after temporal actionness grouping, Zhao et al. 2017).

    Args:
        scores: (T,) probabilities of the video's equally long frames.
        duration: of the video in seconds.
        levels: how many equally spaced thresholds between 0 and 1.

    Returns:
        (M, 3), unordered; a run that several levels give is there once.
    """
    values = np.asarray(scores, dtype=np.float64).reshape(-1)
    _require_finite(values, "score")
    found = {run for level in np.linspace(0, 1, levels + 2)[1:-1] for run in _runs(values >= level)}
    step = duration / max(1, len(values))
    rows = [(begin * step, end * step, _contrast(values, begin, end)) for begin, end in sorted(found)]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last place of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False])).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def _contrast(values: Floats, begin: int, end: int) -> float:
    reach = max(1, (end - begin) // 4)
    around = np.concatenate((values[max(0, begin - reach) : begin], values[end : end + reach]))
    return float(values[begin:end].mean() - 0.5 * (around.mean() if len(around) else 0.0))


def _average_precision(overlaps: Sequence[Floats], scores: Floats, periods: int, threshold: float) -> float:
    if periods == 0:
        return float("nan")
    right = np.concatenate([_taken(overlap, threshold) for overlap in overlaps])[np.argsort(-scores, kind="stable")]
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float(precision[right].sum() / periods)


def _taken(overlap: Floats, threshold: float) -> NDArray[np.bool_]:
    """(M,) whether each proposal, best first, meets a true period that is still free; of those it takes the nearest."""
    free = np.ones(overlap.shape[1], dtype=bool)
    right = np.zeros(len(overlap), dtype=bool)
    for place, row in enumerate(overlap):
        reached = free & (row >= threshold - _SLACK)
        if reached.any():
            free[int(np.where(reached, row, -1.0).argmax())] = False
            right[place] = True
    return right


def _average_recall(overlaps: Sequence[Floats], periods: int, best: int) -> float:
    if periods == 0:
        return float("nan")
    nearest = [row[:best].max(0, initial=0.0) for row in overlaps if row.shape[1]]
    reached = np.concatenate(nearest)[:, None] >= np.array(RECALL_IOUS) - _SLACK
    return float(reached.sum(0).mean() / periods)


def _ranked(proposals: Floats) -> Floats:
    return proposals[np.argsort(-proposals[:, 2], kind="stable")]


def _periods(values: ArrayLike, what: str, width: int) -> Floats:
    found = np.asarray(values, dtype=np.float64).reshape(-1, width)
    _require_finite(found, what)
    backwards = np.flatnonzero(found[:, 1] < found[:, 0])
    if len(backwards):
        start, end = found[backwards[0], :2]
        raise DataError(f"a {what} must not end before it starts, got {start:g} to {end:g} s")
    return found


def _require_finite(values: Floats, what: str) -> None:
    if not np.isfinite(values).all():
        raise TrialError(f"every {what} must be finite, some are not: the model diverged")
