"""How well logits separate fake from real: pure functions on arrays.

Positive = fake, decided at logit 0. What a set cannot tell is NaN and said in `notes`, never replaced by a number.
Definitions: EER as (FPR + FNR) / 2 at argmin |FNR − FPR|; expected calibration error after Guo et al. 2017 (equation 3; 15 bins
of the confidence max(p, 1 − p)); Brier 1950 for two classes with one probability; average precision as the sum of steps
Σ (R_n − R_{n−1})·P_n.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretolens.data.bootstrap import Interval, clustered_interval
from paretolens.errors import DataError, TrialError
from paretolens.models.decision import flat, verdicts

__all__ = [
    "ClassificationMetrics",
    "accuracy_interval",
    "area",
    "auc_by_kind",
    "calibration_error",
    "classification_metrics",
    "correct",
]

Floats = NDArray[np.float64]
ECE_BINS = 15


@dataclass(frozen=True, kw_only=True)
class ClassificationMetrics:
    """Scores of one set; each lies in 0..1."""

    accuracy: float
    """Share of right verdicts at logit 0."""
    precision: float
    """Of the samples called fake, the share that is; NaN if none was called fake."""
    recall: float
    """Of the fakes, the share called fake; NaN without fakes."""
    f1: float
    """Harmonic mean of precision and recall, 2TP / (2TP + FP + FN); NaN without fakes and without fake verdicts."""
    auc: float
    """Area under the ROC curve, ties counted half; NaN if only one class is there."""
    average_precision: float
    """Area under the precision-recall steps; NaN without fakes."""
    eer: float
    """Equal error rate; NaN if only one class is there. Lower is better."""
    ece: float
    """Expected calibration error. Lower is better."""
    brier: float
    """Mean squared error of the probability. Lower is better."""
    samples: int
    """Number of samples."""
    positives: int
    """Number of fakes among them."""
    notes: tuple[str, ...]
    """What could not be computed and why; empty if nothing."""

    def to_metrics(self) -> dict[str, float]:
        """The scores by name, without those that are NaN."""
        names = ("accuracy", "precision", "recall", "f1", "auc", "average_precision", "eer", "ece", "brier")
        return {name: value for name in names if not np.isnan(value := float(getattr(self, name)))}


def classification_metrics(labels: ArrayLike, logits: ArrayLike) -> ClassificationMetrics:
    """All scores of one set.

    Args:
        labels: (N,) or (N, 1), 1 = fake and 0 = real.
        logits: The same shape, raw scores, positive = fake.

    Raises:
        DataError: no samples, shapes that differ, or labels other than 0 and 1.
        TrialError: a logit is NaN or infinite.
    """
    truth, scores = _checked(labels, logits)
    called = scores > 0.0
    tp, fp = int(np.sum(called & truth)), int(np.sum(called & ~truth))
    fn = int(np.sum(~called & truth))
    positives = int(truth.sum())
    both = 0 < positives < len(truth)
    curve = _error_rates(truth, scores) if both else None
    return ClassificationMetrics(
        accuracy=float(np.mean(called == truth)),
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
        auc=area(truth, scores) if both else float("nan"),
        average_precision=_average_precision(truth, scores) if positives else float("nan"),
        eer=_eer(*curve) if curve is not None else float("nan"),
        ece=_ece(truth, _sigmoid(scores)),
        brier=float(np.mean((_sigmoid(scores) - truth) ** 2)),
        samples=len(truth),
        positives=positives,
        notes=_notes(positives, len(truth), tp + fp),
    )


def auc_by_kind(labels: ArrayLike, logits: ArrayLike, kinds: Sequence[str]) -> dict[str, float]:
    """AUC of each kind of fake against all real samples; NaN where there are no real ones.

    Args:
        labels: (N,) 1 = fake, 0 = real.
        logits: (N,) raw scores.
        kinds: N names; those of the real samples do not matter.
    """
    truth, scores = _checked(labels, logits)
    names = np.asarray(kinds)
    if len(names) != len(truth):
        raise DataError(f"kinds must name every sample, got {len(names)} for {len(truth)} samples")
    found: dict[str, float] = {}
    for kind in sorted(set(names[truth].tolist())):
        chosen = ~truth | (names == kind)
        found[kind] = area(truth[chosen], scores[chosen]) if not truth.all() else float("nan")
    return found


def correct(labels: ArrayLike, logits: ArrayLike) -> Floats:
    """(N,) 1.0 where the verdict is right, else 0.0: what intervals and paired comparisons are made of.

    Args:
        labels: (N,) 1 = fake and 0 = real, or numbers of classes.
        logits: (N,) raw scores, positive = fake, or (N, K) scores of classes.
    """
    scores = flat(np.asarray(logits, dtype=np.float64))
    truth = np.asarray(labels).reshape(-1) if scores.ndim == 2 else _checked(labels, logits)[0]
    right: Floats = (verdicts(scores) == truth).astype(np.float64)
    return right


def accuracy_interval(
    labels: ArrayLike,
    logits: ArrayLike,
    groups: ArrayLike,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Accuracy and its bootstrap interval, resampled by group: fakes made from one clip are not independent.

    Two models are compared by `paretolens.data.bootstrap.paired_difference` of their `correct` arrays.

    Args:
        labels: (N,) 1 = fake, 0 = real, or numbers of classes.
        logits: (N,) raw scores, or (N, K) scores of classes.
        groups: (N,) source clip of each sample.
        resamples: Number of draws.
        confidence: Level of the interval, 0..1.
        seed: Of the draws.
    """
    values, clusters = correct(labels, logits), np.asarray(groups).reshape(-1)
    if len(clusters) != len(values):
        raise DataError(f"groups must name the source of every sample, got {len(clusters)} for {len(values)} samples")
    return clustered_interval(values, clusters, resamples=resamples, confidence=confidence, seed=seed)


def _checked(labels: ArrayLike, logits: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    truth = np.asarray(labels, dtype=np.float64).reshape(-1)
    scores = np.asarray(logits, dtype=np.float64).reshape(-1)
    if len(truth) == 0 or len(truth) != len(scores):
        raise DataError(f"labels and logits must be as many and not none, got {len(truth)} and {len(scores)}")
    if not np.isin(truth, (0.0, 1.0)).all():
        raise DataError(f"labels must be 0 (real) or 1 (fake), got {np.unique(truth)[:4].tolist()}")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise TrialError(
            f"logits must be finite, {len(bad)} of {len(scores)} are not (first: sample {bad[0]}): the model diverged"
        )
    return truth > 0.5, scores


def _notes(positives: int, samples: int, called: int) -> tuple[str, ...]:
    notes = []
    if positives in (0, samples):
        only = "fake" if positives else "real"
        notes.append(f"all {samples} samples are {only}: auc and eer are undefined")
    if positives == 0:
        notes.append("no sample is fake: recall and average_precision are undefined")
    if called == 0:
        notes.append("no sample was called fake: precision is undefined")
    return tuple(notes)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _sigmoid(scores: Floats) -> Floats:
    from scipy.special import expit

    values: Floats = expit(scores)
    return values


def area(truth: NDArray[np.bool_], scores: Floats) -> float:
    """Area under the ROC curve of (N,) scores: Mann-Whitney U / (positives · negatives), average ranks for ties."""
    from scipy.stats import rankdata

    positives, negatives = int(truth.sum()), int((~truth).sum())
    return float((rankdata(scores)[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _steps(truth: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """True and false positives when all samples at or above each distinct score, highest first, are called fake."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(truth[order])[last].astype(np.float64)
    return hits, last + 1.0 - hits


def _error_rates(truth: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """FPR and FNR at every threshold, from 'nothing is fake' to 'all is'."""
    hits, alarms = _steps(truth, scores)
    positives, negatives = truth.sum(), (~truth).sum()
    return np.append(0.0, alarms / negatives), 1.0 - np.append(0.0, hits / positives)


def _eer(fpr: Floats, fnr: Floats) -> float:
    best = int(np.argmin(np.abs(fnr - fpr)))
    return float((fpr[best] + fnr[best]) / 2.0)


def _average_precision(truth: NDArray[np.bool_], scores: Floats) -> float:
    hits, alarms = _steps(truth, scores)
    recall = hits / truth.sum()
    return float(np.sum(np.diff(recall, prepend=0.0) * hits / (hits + alarms)))


def _ece(truth: NDArray[np.bool_], probability: Floats) -> float:
    return calibration_error((probability > 0.5) == truth, np.maximum(probability, 1.0 - probability))


def calibration_error(right: NDArray[np.bool_], confidence: Floats) -> float:
    """Expected calibration error of (N,) verdicts: whether each is right, and the probability that it was given."""
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gap = np.bincount(bins, weights=right - confidence, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(right))
