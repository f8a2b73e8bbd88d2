import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from paretolens.errors import DataError, TrialError
from paretolens.evaluators.accuracy import accuracy_interval, auc_by_kind, classification_metrics, correct


def sample(size: int, seed: int, *, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, size).astype(np.float32)
    logits = generator.normal(0, 1.5, size) + labels - 0.4
    return labels, np.round(logits, 1) if ties else logits


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", [12, 200, 1001])
def test_against_sklearn(size: int, ties: bool) -> None:
    labels, logits = sample(size, size, ties=ties)
    found = classification_metrics(labels[:, None], logits[:, None])
    called, probability = logits > 0, 1 / (1 + np.exp(-logits))
    assert found.accuracy == pytest.approx(sk.accuracy_score(labels, called))
    assert found.precision == pytest.approx(sk.precision_score(labels, called))
    assert found.recall == pytest.approx(sk.recall_score(labels, called))
    assert found.f1 == pytest.approx(sk.f1_score(labels, called))
    assert found.auc == pytest.approx(sk.roc_auc_score(labels, logits))
    assert found.average_precision == pytest.approx(sk.average_precision_score(labels, logits))
    assert found.brier == pytest.approx(sk.brier_score_loss(labels, probability))
    fpr, tpr, _ = sk.roc_curve(labels, logits, drop_intermediate=False)
    best = np.argmin(np.abs((1 - tpr) - fpr))
    assert found.eer == pytest.approx((fpr[best] + 1 - tpr[best]) / 2)
    assert (found.samples, found.positives, found.notes) == (size, int(labels.sum()), ())
    assert set(found.to_metrics()) == {
        *("accuracy", "precision", "recall", "f1", "auc", "average_precision", "eer", "ece", "brier")
    }


def test_hand_worked() -> None:
    labels, logits = [1, 1, 1, 0, 0], [2.0, 0.5, -1.0, 1.0, -3.0]
    found = classification_metrics(labels, logits)
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.precision == found.recall == found.f1 == pytest.approx(2 / 3)
    assert found.auc == pytest.approx(4 / 6)  # of 6 pairs, (0.5, 1.0) and (-1.0, 1.0) are the wrong way round
    assert found.eer == pytest.approx((1 / 2 + 1 / 3) / 2)  # at threshold 0.5: one false alarm of 2, one fake of 3 missed


def test_calibration_error_by_bins() -> None:
    probability = np.array([0.9, 0.91, 0.3, 0.55])  # confidences .9, .91 share a bin of width 1/15; .7 and .55 have their own
    labels = np.array([1, 0, 0, 0])
    logits = np.log(probability / (1 - probability))
    wanted = (abs(1 - (0.9 + 0.91)) + abs(1 - 0.7) + abs(0 - 0.55)) / 4
    assert classification_metrics(labels, logits).ece == pytest.approx(wanted)
    sure = classification_metrics([1, 1, 0, 0], [60.0, 60.0, -60.0, -60.0])
    assert sure.ece == pytest.approx(0.0, abs=1e-12)


def test_one_class_is_said(recwarn: pytest.WarningsRecorder) -> None:
    fakes = classification_metrics([1, 1, 1], [1.0, -1.0, 2.0])
    assert np.isnan([fakes.auc, fakes.eer]).all()
    assert fakes.average_precision == pytest.approx(1.0)
    assert fakes.notes == ("all 3 samples are fake: auc and eer are undefined",)
    assert not {"auc", "eer"} & set(fakes.to_metrics())
    reals = classification_metrics([0, 0], [-1.0, -2.0])
    assert np.isnan([reals.auc, reals.eer, reals.recall, reals.precision, reals.f1, reals.average_precision]).all()
    assert reals.accuracy == 1.0
    assert len(reals.notes) == 3
    assert len(recwarn) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_must_be_finite(bad: float) -> None:
    with pytest.raises(TrialError, match=r"1 of 3 are not \(first: sample 1\)"):
        classification_metrics([0, 1, 1], [0.1, bad, 0.2])


def test_bad_arrays() -> None:
    with pytest.raises(DataError, match="got 2 and 3"):
        classification_metrics([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(DataError, match="got 0 and 0"):
        classification_metrics([], [])
    with pytest.raises(DataError, match=r"0 \(real\) or 1 \(fake\), got \[0.0, 2.0\]"):
        classification_metrics([0, 2], [0.1, 0.2])
    with pytest.raises(DataError, match="kinds must name every sample"):
        auc_by_kind([0, 1], [0.1, 0.2], ["real"])
    with pytest.raises(DataError, match="groups must name the source"):
        accuracy_interval([0, 1], [0.1, 0.2], [1])


def test_auc_of_each_kind_is_against_all_real() -> None:
    labels, logits = sample(300, 5, ties=False)
    names = np.where(labels == 0, "real", np.random.default_rng(0).choice(["face", "voice"], 300))
    found = auc_by_kind(labels, logits, names.tolist())
    assert set(found) == {"face", "voice"}
    for kind, value in found.items():
        chosen = (labels == 0) | (names == kind)
        assert value == pytest.approx(sk.roc_auc_score(labels[chosen], logits[chosen]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(auc_by_kind([1, 1], [0.1, 0.2], ["face", "face"])["face"])


def test_interval_covers_the_truth_when_samples_come_in_groups() -> None:
    """Groups of 8 samples that are right or wrong together: an interval over samples would be far too narrow."""
    hits, truth, trials = 0, 0.8, 200
    generator = np.random.default_rng(3)
    for seed in range(trials):
        right = np.repeat(generator.random(60) < truth, 8)
        labels = generator.integers(0, 2, 480)
        logits = np.where(right == (labels == 1), 1.0, -1.0)
        interval = accuracy_interval(labels, logits, np.repeat(np.arange(60), 8), resamples=400, seed=seed)
        assert interval.mean == pytest.approx(right.mean())
        hits += interval.low <= truth <= interval.high
    assert 0.88 <= hits / trials <= 0.99


def test_correct_is_the_accuracy_by_sample() -> None:
    labels, logits = sample(50, 1, ties=False)
    assert correct(labels, logits).mean() == pytest.approx(classification_metrics(labels, logits).accuracy)
