import pytest
import torch
from sklearn.metrics import roc_auc_score

from paretolens.errors import DataError
from paretolens.trainers.validation import Validator, area_under_curve, predict_logits


@pytest.mark.parametrize("ties", [False, True])
def test_area_equals_scikit_learn(ties: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, generator=generator)
    labels = (torch.rand(200, generator=generator) < 0.3).float()
    scores = (scores * 2).round() if ties else scores
    assert area_under_curve(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_scores_of_a_split(model_of, val) -> None:
    model = model_of()
    score = Validator(val, batch_size=7)(model)
    logits = predict_logits(model, val, batch_size=24)
    targets = torch.from_numpy(val.labels)[:, None]
    assert logits.shape == (24, 1)
    assert score.loss == pytest.approx(float(torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)), rel=1e-4)
    assert score.accuracy == pytest.approx(float(((logits > 0) == (targets > 0.5)).float().mean()))


def test_one_class_is_refused(val) -> None:
    with pytest.raises(DataError, match="one class only"):
        Validator(val.subset(range(0, 24, 2)))
