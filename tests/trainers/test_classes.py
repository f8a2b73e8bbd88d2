"""Training with classes: losses, validation and evidence against scikit-learn, SciPy and Captum."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from paretolens.data.preprocessing import PictureSettings, Preprocessing, picture_signature
from paretolens.data.samples import SampleSet
from paretolens.errors import DataError
from paretolens.evaluators.explain import ClassLogit
from paretolens.models.registry import build
from paretolens.models.signature import Verdict
from paretolens.trainers.align import AlignSettings, PathAlignment
from paretolens.trainers.cache import cache_teacher
from paretolens.trainers.distill import DistillSettings, distill
from paretolens.trainers.loop import Batch
from paretolens.trainers.losses import balancing_weight, hard_loss, soft_loss
from paretolens.trainers.paths import cache_paths, path_evidence
from paretolens.trainers.teacher import TeacherSettings, train_teacher
from paretolens.trainers.validation import Validator, predict_logits

SIZE = 16
CLASSES = ("real", "red", "green")


def make_pictures(count: int, seed: int) -> SampleSet:
    """Noise; of two classes one colour is brighter."""
    generator = np.random.default_rng(seed)
    picture = PictureSettings(size=SIZE)
    labels = (np.arange(count) % 3).astype(np.float32)
    images = generator.integers(60, 160, (count, 3, SIZE, SIZE), dtype=np.uint8)
    for colour in (0, 1):
        images[labels == colour + 1, colour] += 60
    signature = picture_signature(picture)
    return SampleSet(
        signature=type(signature)(inputs=signature.inputs, outputs=signature.outputs, classes=CLASSES),
        preprocessing=Preprocessing(picture=picture),
        arrays={"image": images},
        labels=labels,
        ids=tuple(f"picture{row}" for row in range(count)),
        groups=np.arange(count),
        identities=np.arange(count),
        kinds=tuple(CLASSES[int(label)] for label in labels),
        strengths=np.ones(count, np.float32),
        offsets=np.full(count, -100, np.int64),
        regions=np.zeros((count, 1, 16, 16), bool),
        periods=np.zeros((count, 2), np.float32),
        mean_image=np.full((3, SIZE, SIZE), 110, np.float32),
        fingerprint=f"colours-{count}-{seed}",
    )


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 5, 3), nn.SiLU(), nn.Flatten(), nn.Linear(64, 3))

    def forward(self, image: torch.Tensor) -> Verdict:
        return Verdict(self.body(image))


def fit_network() -> nn.Module:
    torch.manual_seed(1)
    return build("picture-classifier", network="resnet18", multiplier=0.125, input_size=SIZE, outputs=3)


@pytest.fixture(scope="module")
def train() -> SampleSet:
    return make_pictures(48, 0)


@pytest.fixture(scope="module")
def val() -> SampleSet:
    return make_pictures(24, 1)


def test_losses_of_classes() -> None:
    generator = np.random.default_rng(0)
    student, teacher, labels = generator.normal(size=(9, 4)), generator.normal(size=(9, 4)), np.arange(9) % 4
    hard = hard_loss(torch.from_numpy(student), torch.from_numpy(labels)[:, None].float())
    assert float(hard) == pytest.approx(log_loss(labels, softmax(student, axis=1)))
    p, q = (log_softmax(scores / 3.0, axis=1) for scores in (teacher, student))
    expected = 9.0 * (np.exp(p) * (p - q)).sum(axis=1).mean()
    assert float(soft_loss(torch.from_numpy(student), torch.from_numpy(teacher), 3.0)) == pytest.approx(expected)
    assert float(soft_loss(torch.from_numpy(teacher) + 5, torch.from_numpy(teacher), 3.0)) == pytest.approx(0.0, abs=1e-12)


def test_classes_weigh_alike_once_they_are_balanced() -> None:
    labels = torch.tensor([0.0] * 6 + [1.0] * 3 + [2.0])[:, None]
    weight = balancing_weight(labels, 3)
    assert torch.bincount(labels[:, 0].long(), weights=weight[labels[:, 0].long()]).tolist() == pytest.approx([10 / 3] * 3)
    each = hard_loss(torch.zeros(10, 3), labels, fake_weight=weight)
    assert float(each) == pytest.approx(np.log(3))
    with pytest.raises(DataError, match="class 3 has no training sample"):
        balancing_weight(labels, 4)


def test_two_classes_are_taught_as_one_logit_is() -> None:
    student, teacher = torch.randn(7, 2, dtype=torch.double), torch.randn(7, 2, dtype=torch.double)
    one = [(scores[:, 1:] - scores[:, :1]) for scores in (student, teacher)]
    targets = (torch.arange(7) % 2)[:, None].double()
    torch.testing.assert_close(hard_loss(student, targets), hard_loss(one[0], targets))
    torch.testing.assert_close(soft_loss(student, teacher, 2.0), soft_loss(one[0], one[1], 2.0))


def test_scores_of_a_split_with_classes(val: SampleSet) -> None:
    model = Small()
    score, scores = Validator(val, batch_size=7)(model), predict_logits(model, val).numpy()
    p = softmax(scores.astype(np.float64), axis=1)
    assert score.loss == pytest.approx(log_loss(val.labels, p), rel=1e-5)
    assert score.accuracy == pytest.approx((scores.argmax(1) == val.labels).mean())
    assert score.auc == pytest.approx(roc_auc_score(val.labels, p, multi_class="ovr", average="macro"))


def test_a_teacher_and_its_student_learn_classes(train: SampleSet, val: SampleSet, tmp_path) -> None:
    teacher, student = fit_network(), Small()
    before = Validator(val)(student)
    settings = TeacherSettings(epochs=4, batch_size=12, learning_rate=0.01)
    history = train_teacher(teacher, train, val, settings, seed=0, report=lambda _: None)
    assert Validator(val)(teacher).loss == pytest.approx(history.best["teacher_val_loss"], rel=1e-4)
    assert history.best["teacher_val_accuracy"] > 0.6
    outputs = cache_teacher(teacher, train, tmp_path)
    assert outputs.batch(torch.arange(5)).logit.shape == (5, 3)
    plan = DistillSettings(epochs=4, batch_size=12, learning_rate=0.01, beta=0.0, alpha=0.3)
    distill(student, outputs, train, val, plan, seed=0, report=lambda _: None)
    assert Validator(val)(student).loss < before.loss


def test_evidence_is_that_of_the_chosen_class(val: SampleSet, tmp_path) -> None:
    model = Small().eval()
    inputs, baseline = val.batch(slice(0, 4)), [torch.zeros(1, 3, SIZE, SIZE)]
    classes = torch.tensor([0, 2, 1, 1])
    nodes, weights = np.polynomial.legendre.leggauss(12)
    parts = [
        path_evidence(model, inputs, baseline, torch.full((4,), (node + 1) / 2), val.signature, classes=classes)[0] * weight / 2
        for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True)
    ]
    for row, index in enumerate(classes.tolist()):
        expected = IntegratedGradients(lambda x, k=index: ClassLogit(model, k)(x)[:, 0]).attribute(
            inputs[0][row : row + 1], baseline[0], n_steps=12, method="gausslegendre"
        )
        torch.testing.assert_close(sum(parts)[row], expected.sum(1).flatten().float(), atol=1e-5, rtol=1e-4)
    paths = cache_paths(model, val, baseline, tmp_path, seed=0)
    chosen = predict_logits(model, val).argmax(1)
    assert np.array_equal(paths.classes, chosen.numpy())
    assert np.array_equal(paths.fake, chosen.numpy() > 0)
    batch = Batch(rows=torch.arange(24), epoch=0, step=0, generator=torch.Generator().manual_seed(0))
    assert PathAlignment(paths, val, AlignSettings())(model, batch).item() == pytest.approx(0.0, abs=1e-5)
    other = fit_network()
    loss = PathAlignment(paths, val, AlignSettings())(other, batch)
    loss.backward()
    assert 0 < loss.item() <= 4
    assert all(bool(torch.isfinite(p.grad).all()) for p in other.parameters() if p.grad is not None)
