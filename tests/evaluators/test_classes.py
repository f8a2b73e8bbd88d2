"""Against scikit-learn, which is no part of the library."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from paretolens.errors import DataError, TrialError
from paretolens.evaluators.accuracy import classification_metrics, correct
from paretolens.evaluators.classes import class_metrics, split_aucs, split_metrics
from paretolens.models.signature import InputKind, InputSpec, Signature

INPUT = InputSpec(name="image", shape=(3, 8, 8), kind=InputKind.IMAGE)
RANDOM = np.random.default_rng(3)
LABELS = RANDOM.integers(0, 4, 150)
SCORES = (2 * np.eye(4)[LABELS] + RANDOM.normal(0, 1.5, (150, 4))).round(1)  # rounded: some are equal


def split_of(classes: tuple[str, ...], labels: np.ndarray) -> SimpleNamespace:
    kinds = [classes[int(label)] if classes else ("fake" if label else "real") for label in labels]
    return SimpleNamespace(signature=Signature(inputs=(INPUT,), outputs=("logit",), classes=classes), labels=labels, kinds=kinds)


def test_every_score_equals_scikit_learn() -> None:
    found, called, p = class_metrics(LABELS, SCORES), SCORES.argmax(1), softmax(SCORES, axis=1)
    expected = {
        "accuracy": metrics.accuracy_score(LABELS, called),
        "precision": metrics.precision_score(LABELS, called, average="macro"),
        "recall": metrics.recall_score(LABELS, called, average="macro"),
        "f1": metrics.f1_score(LABELS, called, average="macro"),
        "auc": metrics.roc_auc_score(LABELS, p, multi_class="ovr", average="macro"),
        "log_loss": metrics.log_loss(LABELS, p),
        "brier": float(((p - np.eye(4)[LABELS]) ** 2).sum(1).mean()),
    }
    assert {name: found.to_metrics()[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    np.testing.assert_array_equal(correct(LABELS, SCORES), called == LABELS)


def test_a_class_that_nobody_has_counts_only_where_it_is_named() -> None:
    labels, called = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 1, 1, 1, 0, 3])
    scores = 3.0 * np.eye(5)[called]
    found = class_metrics(labels, scores)
    assert found.f1 == pytest.approx(metrics.f1_score(labels, called, average="macro", zero_division=0))
    assert found.precision == pytest.approx(metrics.precision_score(labels, called, average="macro", zero_division=0))


def test_calibration_error_of_a_worked_case() -> None:
    """Three of four verdicts of 90 % are right, one of two of 60 %: (4·|.75 − .9| + 2·|.5 − .6|) / 6."""
    p = np.array([[0.9, 0.05, 0.05]] * 4 + [[0.2, 0.6, 0.2]] * 2)
    labels = np.array([0, 0, 0, 1, 1, 2])
    assert class_metrics(labels, np.log(p)).ece == pytest.approx((4 * 0.15 + 2 * 0.1) / 6)


def test_two_classes_are_as_accurate_as_one_logit() -> None:
    labels = LABELS % 2
    logit = SCORES[:, 1] - SCORES[:, 0]
    two, one = class_metrics(labels, SCORES[:, :2]), classification_metrics(labels, logit)
    assert (two.accuracy, two.auc, two.ece) == pytest.approx((one.accuracy, one.auc, one.ece))
    assert two.brier == pytest.approx(2 * one.brier)


def test_a_split_says_by_its_classes_what_its_scores_are() -> None:
    names = ("real", "a", "b", "c")
    split = split_of(names, LABELS.astype(np.float32))
    assert split_metrics(split, SCORES) == class_metrics(LABELS, SCORES).to_metrics()
    p = softmax(SCORES, axis=1)
    expected = {name: metrics.roc_auc_score(index == LABELS, p[:, index]) for index, name in enumerate(names)}
    assert split_aucs(split, SCORES) == pytest.approx(expected)
    binary = split_of((), (LABELS > 0).astype(np.float32))
    assert split_metrics(binary, SCORES[:, 0]) == classification_metrics(LABELS > 0, SCORES[:, 0]).to_metrics()


@pytest.mark.parametrize(
    ("labels", "scores", "error"),
    [
        ([0, 1], [[0.0, 1.0]], DataError),
        ([0, 2], [[0.0, 1.0], [1.0, 0.0]], DataError),
        ([0, 1], [[0.0, np.nan], [1.0, 0.0]], TrialError),
    ],
)
def test_what_is_no_score_is_refused(labels: list[int], scores: list[list[float]], error: type[Exception]) -> None:
    with pytest.raises(error):
        class_metrics(labels, scores)
