import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from paretolens.models.decision import class_logits, flat, logit_of_class, probabilities, verdicts

SCORES = np.random.default_rng(0).normal(0, 4, (40, 5))


def test_the_logit_of_a_class_is_that_of_its_probability() -> None:
    p = softmax(SCORES, axis=1)
    np.testing.assert_allclose(probabilities(SCORES), p, rtol=1e-12)
    np.testing.assert_allclose(class_logits(SCORES), np.log(p / (1 - p)), rtol=1e-9)
    chosen = torch.from_numpy(np.arange(40) % 5)
    found = logit_of_class(torch.from_numpy(SCORES), chosen).numpy()
    np.testing.assert_allclose(found, class_logits(SCORES)[np.arange(40), chosen.numpy()], rtol=1e-12)


def test_it_stays_finite_where_the_probability_is_rounded_to_1() -> None:
    sure = np.array([[800.0, 0.0, 0.0]])
    assert class_logits(sure)[0, 0] == pytest.approx(800 - np.log(2))
    assert log_softmax(sure, axis=1)[0, 0] == 0.0


def test_of_two_classes_it_is_the_difference() -> None:
    two = SCORES[:, :2]
    np.testing.assert_allclose(class_logits(two)[:, 1], two[:, 1] - two[:, 0], rtol=1e-12)
    np.testing.assert_array_equal(verdicts(two), verdicts(two[:, 1] - two[:, 0]))


def test_it_can_be_differentiated_twice() -> None:
    scores = torch.from_numpy(SCORES[:3]).requires_grad_()
    chosen = torch.tensor([4, 0, 2])
    assert torch.autograd.gradgradcheck(lambda x: logit_of_class(x, chosen), scores)


def test_one_logit_is_fake_above_0() -> None:
    logits = np.array([[-1.0], [0.0], [2.0]])
    assert verdicts(logits).tolist() == verdicts(logits[:, 0]).tolist() == [0, 0, 1]
    assert flat(logits).shape == (3,)
    assert flat(SCORES) is SCORES
