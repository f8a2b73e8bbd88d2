"""How well scores tell several classes apart, and the figures of a split whichever kind its scores are.

Definitions: F1, precision and recall are means over the classes that some sample has or some verdict names, each class against
the others; what would be 0/0 counts as 0. AUC is the mean over the classes of each against all others, by p_c (Mann-Whitney,
ties counted half). Log loss is the mean of -log p of the true class, in nats. Expected calibration error after Guo et al. 2017
(equation 3; 15 bins of the largest probability). Brier 1950: mean of Σ_c (p_c - y_c)², in 0..2.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretolens.errors import DataError, TrialError
from paretolens.evaluators.accuracy import area, auc_by_kind, calibration_error, classification_metrics
from paretolens.models.decision import class_logits, probabilities, verdicts

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["ClassMetrics", "class_metrics", "split_aucs", "split_metrics"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """Scores of one set."""

    accuracy: float
    """Share of samples whose class has the largest score."""
    precision: float
    """Mean over the classes of the share of right verdicts among those that name it."""
    recall: float
    """Mean over the classes of the share of its samples that are found."""
    f1: float
    """Mean over the classes of 2TP / (2TP + FP + FN)."""
    auc: float
    """Mean area under the ROC curve of each class against the others; NaN if only one class is there."""
    log_loss: float
    """Cross-entropy in nats. Lower is better."""
    ece: float
    """Expected calibration error, 0..1. Lower is better."""
    brier: float
    """Squared error of the probabilities, 0..2. Lower is better."""

    def to_metrics(self) -> dict[str, float]:
        """The scores by name, without those that are NaN."""
        return {name: value for name, value in asdict(self).items() if not np.isnan(value)}


def class_metrics(labels: ArrayLike, scores: ArrayLike) -> ClassMetrics:
    """All scores of one set.

    Args:
        labels: (N,) numbers of classes.
        scores: (N, K) raw scores, K ≥ 2.

    Raises:
        DataError: no samples, shapes that differ, or labels that are no classes.
        TrialError: a score is not finite.
    """
    truth, found = _checked(labels, scores)
    called, share, count = verdicts(found), probabilities(found), found.shape[1]
    hits, named, own = (np.bincount(each, minlength=count) for each in (truth[called == truth], called, truth))
    known = (named + own) > 0
    areas = list(_areas(truth, found).values())
    raised = found - found.max(axis=1, keepdims=True)
    surprise = np.log(np.exp(raised).sum(axis=1)) - raised[np.arange(len(truth)), truth]
    return ClassMetrics(
        accuracy=float(np.mean(called == truth)),
        precision=float(np.mean((hits / np.maximum(named, 1))[known])),
        recall=float(np.mean((hits / np.maximum(own, 1))[known])),
        f1=float(np.mean((2 * hits / np.maximum(named + own, 1))[known])),
        auc=float(np.mean(areas)) if areas else float("nan"),
        log_loss=float(np.mean(surprise)),
        ece=calibration_error(called == truth, share.max(axis=1)),
        brier=float(np.mean(np.sum((share - np.eye(count)[truth]) ** 2, axis=1))),
    )


def split_metrics(samples: "SampleSet", scores: ArrayLike) -> dict[str, float]:
    """The figures of a split by name, those that are NaN left out: of logits (N,), or of scores (N, K) where it has classes."""
    if samples.signature.classes:
        return class_metrics(samples.labels, scores).to_metrics()
    return classification_metrics(samples.labels, scores).to_metrics()


def split_aucs(samples: "SampleSet", scores: ArrayLike) -> dict[str, float]:
    """AUC of each kind of fake against the real samples, or of each class against all others, by its name."""
    names = samples.signature.classes
    if not names:
        return auc_by_kind(samples.labels, scores, samples.kinds)
    return {names[index]: value for index, value in _areas(*_checked(samples.labels, scores)).items()}


def _areas(truth: NDArray[np.int64], scores: Floats) -> dict[int, float]:
    """Class → AUC, of the classes that some, not all, samples have."""
    logits = class_logits(scores)
    some = [index for index in range(scores.shape[1]) if 0 < np.sum(truth == index) < len(truth)]
    return {index: area(truth == index, logits[:, index]) for index in some}


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    truth, found = np.asarray(labels).reshape(-1), np.asarray(scores, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] < 2 or not 0 < len(truth) == len(found):
        raise DataError(f"scores must be (N, K), K >= 2, one row for each of {len(truth)} labels; got {found.shape}")
    if not np.isin(truth, np.arange(found.shape[1])).all():
        raise DataError(f"labels must be numbers of {found.shape[1]} classes, got {np.unique(truth)[:4].tolist()}")
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise TrialError(
            f"scores must be finite, those of {len(bad)} of {len(found)} samples are not (first: {bad[0]}): the model diverged"
        )
    return truth.astype(np.int64), found
