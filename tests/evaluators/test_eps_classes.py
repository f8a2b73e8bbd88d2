"""EPS of classifiers: the logit of the teacher's class is what is explained, of both models."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paretolens.evaluators.eps import EpsSettings, ExplainedSet, Population, TeacherReference, proxy_eps, proxy_rows, score_eps
from paretolens.evaluators.faithfulness.curves import deletion_and_insertion
from paretolens.models.signature import InputKind, InputSpec, Signature, Verdict

IMAGE = InputSpec(name="image", shape=(3, 16, 16), kind=InputKind.IMAGE)
SETTINGS = EpsSettings(population=Population.ALL, nodes=6, probes=6, image_grid=4, resamples=100, change_share=0.0)
COUNT = 12


class Scores(nn.Module):
    """Scores of K classes, with a part that is the same for all of them."""

    def __init__(self, seed: int, classes: int, common: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.SiLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.SiLU())
            self.head = nn.Linear(8, classes)
        self.common = common

    def forward(self, image: Tensor) -> Verdict:
        scores = 9.0 * self.head(self.body(image).mean((2, 3)))
        return Verdict(scores + self.common * image[:, :, :4].sum((1, 2, 3))[:, None])


class OneLogit(nn.Module):
    """The same verdict of two classes as one logit."""

    def __init__(self, scores: Scores) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, image: Tensor) -> Verdict:
        logit = self.scores(image).logit
        return Verdict(logit[:, 1:] - logit[:, :1])


def explained_by(classes: tuple[str, ...]) -> ExplainedSet:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(COUNT, 3, 16, 16, generator=generator) + 2.0 * torch.randn(COUNT, 3, 1, 1, generator=generator)
    signature = Signature(inputs=(IMAGE,), outputs=("logit",), classes=classes)
    return ExplainedSet.of_tensors(signature, (images,), (torch.zeros(1, 3, 16, 16),), groups=np.arange(COUNT) // 2)


def test_two_classes_score_as_one_logit_does() -> None:
    teacher, student = Scores(0, 2), Scores(1, 2)
    two = TeacherReference.compute(teacher, explained_by(("real", "fake")), SETTINGS)
    one = TeacherReference.compute(OneLogit(teacher), explained_by(()), SETTINGS)
    torch.testing.assert_close(two.logit, one.side * one.logit)
    torch.testing.assert_close(two.sums, one.side[:, None] * one.sums, atol=1e-4, rtol=1e-4)
    found, expected = score_eps(student, two), score_eps(OneLogit(student), one)
    np.testing.assert_allclose(found.samples.eps, expected.samples.eps, atol=1e-5)
    assert found.agreement_explained == expected.agreement_explained
    assert 0 < int((one.logit > 0).sum()) < COUNT  # both sides are there
    predicted = replace(SETTINGS, population=Population.PREDICTED_FAKE)
    assert torch.equal(replace(two, settings=predicted).eligible, replace(one, settings=predicted).eligible)


@pytest.fixture(scope="module")
def reference() -> TeacherReference:
    return TeacherReference.compute(Scores(0, 4), explained_by(("real", "a", "b", "c")), SETTINGS)


def test_maps_are_those_of_the_class_that_the_teacher_chooses(reference: TeacherReference) -> None:
    with torch.no_grad():
        scores = Scores(0, 4)(*reference.explained.inputs).logit
    assert reference.classes is not None
    assert torch.equal(reference.classes, scores.argmax(1))
    assert len(reference.classes.unique()) > 1
    p = torch.softmax(scores.double(), 1).max(1).values
    torch.testing.assert_close(reference.logit, torch.log(p / (1 - p)), atol=1e-4, rtol=1e-4)
    gap = (reference.sums[:, 0] - reference.change).abs()
    assert bool((gap <= 0.05 * reference.change.abs().clamp_min(1.0))[reference.converged].all())  # completeness of that logit


def test_what_raises_all_classes_alike_explains_nothing(reference: TeacherReference) -> None:
    score = score_eps(Scores(0, 4, common=0.1), reference)
    assert score.eps == pytest.approx(1.0, abs=1e-3)
    assert score.agreement_explained == 1.0
    assert score.logit_correlation == pytest.approx(1.0)


def test_a_student_is_asked_for_the_teachers_class(reference: TeacherReference) -> None:
    student = Scores(3, 4)
    score = score_eps(student, reference)
    with torch.no_grad():
        scores = student(*reference.explained.inputs).logit.double()
    assert reference.classes is not None
    p = torch.softmax(scores, 1)[torch.arange(COUNT), reference.classes].numpy()
    np.testing.assert_allclose(score.samples.logit, np.log(p / (1 - p)), rtol=1e-4, atol=1e-4)
    assert score.agreement_explained == pytest.approx(float((scores.argmax(1) == reference.classes).double().mean()))
    rows = proxy_rows(reference, COUNT)
    assert proxy_eps(student, reference, rows, nodes=6) == pytest.approx(score.eps, abs=0.1)


def test_the_population_leaves_out_what_the_teacher_calls_real(reference: TeacherReference) -> None:
    predicted = replace(reference, settings=replace(SETTINGS, population=Population.PREDICTED_FAKE))
    assert predicted.classes is not None
    assert torch.equal(predicted.eligible, predicted.classes > 0)
    signature = replace(reference.explained.signature, classes=("d", "a", "b", "c"))
    nobody_is_real = replace(predicted, explained=replace(reference.explained, signature=signature))
    assert bool(nobody_is_real.eligible.all())


def test_a_stored_reference_knows_its_classes(reference: TeacherReference, tmp_path: Path) -> None:
    reference.save(tmp_path / "one")
    again = TeacherReference.load(tmp_path / "one")
    assert again.classes is not None
    assert reference.classes is not None
    assert torch.equal(again.classes, reference.classes)
    assert again.explained.signature.classes == ("real", "a", "b", "c")
    assert score_eps(Scores(3, 4), again).eps == score_eps(Scores(3, 4), reference).eps


def test_curves_of_deletion_begin_and_end_at_the_logit_of_the_class(reference: TeacherReference) -> None:
    rows = torch.arange(COUNT)
    grids = {name: maps.values for name, maps in reference.grids.items()}
    curves = deletion_and_insertion(Scores(0, 4), reference, grids, rows)
    np.testing.assert_allclose(curves.deletion[:, 0], reference.change.numpy(), atol=1e-4)
    np.testing.assert_allclose(curves.insertion[:, -1], curves.deletion[:, 0], atol=1e-6)
    assert np.abs(curves.deletion[:, -1]).max() == 0.0
