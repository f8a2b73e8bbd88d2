"""Distillation of patch detectors: what is trained, what is taught, what is refused."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from paretolens.data.preprocessing import PictureSettings, Preprocessing, picture_signature
from paretolens.data.samples import SampleSet
from paretolens.errors import ConfigurationError
from paretolens.evaluators.accuracy import classification_metrics
from paretolens.models.receptive import Field
from paretolens.models.registry import build
from paretolens.trainers.cache import TeacherOutputs
from paretolens.trainers.calibration import Calibrated, calibrate, calibrate_teacher
from paretolens.trainers.distill import DistillSettings, distill, only_training
from paretolens.trainers.loop import Monitor
from paretolens.trainers.patches import PatchLoss, align_patches, patch_loss
from paretolens.trainers.rates import RateShape
from paretolens.trainers.validation import predict_logits
from paretolens.trainers.views import View

SETTINGS = DistillSettings(
    epochs=8, batch_size=8, learning_rate=2e-2, alpha=1.0, beta=0.0, patch=1.0, mirror=True, monitor=Monitor.LAST
)


def pictures(count: int, seed: int) -> SampleSet:
    """Noise; the fakes have a square of stripes."""
    generator = np.random.default_rng(seed)
    settings = PictureSettings(size=32)
    labels = (np.arange(count) % 2).astype(np.float32)
    image = generator.integers(80, 170, (count, 3, 32, 32), dtype=np.uint8)
    image[labels == 1, :, 8:24, 8:24:2] += 60
    return SampleSet(
        signature=picture_signature(settings, ("logit", "patches")),
        preprocessing=Preprocessing(picture=settings),
        arrays={"image": image},
        labels=labels,
        ids=tuple(f"picture{row}" for row in range(count)),
        groups=np.arange(count) // 2,
        identities=np.arange(count) // 4,
        kinds=tuple("fake" if label else "real" for label in labels),
        strengths=labels.copy(),
        offsets=np.full(count, -100, np.int64),
        regions=np.zeros((count, 1, 16, 16), bool),
        periods=np.zeros((count, 2), np.float32),
        mean_image=np.full((3, 32, 32), 125, np.float32),
        fingerprint=f"striped-{count}-{seed}",
    )


def quiet(figures) -> None:
    pass


@pytest.fixture(scope="module")
def taught() -> tuple[SampleSet, SampleSet, Calibrated]:
    """Both splits and the calibrated outputs of a teacher that says how red each of its patches is, and that fakes are."""
    train, val = pictures(48, 0), pictures(24, 1)
    image = train.batch(slice(0, len(train)))[0]
    redness = torch.nn.functional.avg_pool2d(image[:, :1], 9, 8)[:, 0]
    views = [(patches + train.targets(slice(0, 48))[:, :, None]).numpy() for patches in (redness, redness.flip(-1))]
    outputs = TeacherOutputs(
        views=(View.PLAIN, View.MIRRORED),
        logit=np.stack([patches.mean((1, 2))[:, None] for patches in views]),
        offset=np.zeros((2, 48, 0), np.float32),
        attention=np.zeros((2, 48, 0, 0), np.float16),
        patches=np.stack(views),
        fingerprint="red",
        patch_field=Field(size=9, stride=8),
    )
    return train, val, calibrate(outputs, train)


def student(**arguments) -> torch.nn.Module:
    torch.manual_seed(1)
    return build("tiny-ladeda", prefilter="raw", **arguments)


def patch_error(model: torch.nn.Module, train: SampleSet, outputs: Calibrated) -> float:
    rows = torch.arange(len(train))
    align = align_patches(model.patch_field, outputs.patch_field)
    with torch.no_grad():
        ours, theirs = align(model.eval()(*train.batch(rows)).patches, outputs.batch(rows).patches)
    return float(patch_loss(ours, theirs, kind=PatchLoss.SQUARED, temperature=1.0, spread=outputs.patch_spread))


def test_patches_learn_what_the_teachers_patches_say(taught) -> None:
    train, val, outputs = taught
    errors = []
    for weight in (0.0, 1.0):
        model = student()
        distill(model, outputs, train, val, replace(SETTINGS, patch=weight), seed=0, report=quiet)
        errors.append(patch_error(model, train, outputs))
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.5


@pytest.mark.parametrize("field", [5, 7])
def test_every_kind_of_patch_loss_and_alignment_trains(taught, field) -> None:
    train, val, outputs = taught
    settings = replace(SETTINGS, epochs=1, patch_loss=PatchLoss.DIVERGENCE)
    history = distill(student(field=field, stride=4), outputs, train, val, settings, seed=0, report=quiet)
    assert np.isfinite(history.best["distill_loss"])


def test_only_the_named_parts_are_trained(taught) -> None:
    train, val, outputs = taught
    model = student()
    before = {name: value.clone() for name, value in model.named_parameters()}
    settings = replace(SETTINGS, epochs=1, rate=RateShape.PLATEAU)
    distill(model, outputs, train, val, settings, seed=0, report=quiet, stage="head", parts=model.head_parts)
    moved = {name.split(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"fc"}
    distill(model, outputs, train, val, replace(settings), seed=0, report=quiet, parts=model.last_parts)
    moved = {name.split(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"layer1", "fc"}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_was_fixed_before_stays_fixed() -> None:
    model = student()
    model.conv1.weight.requires_grad_(False)
    with only_training(model, ("fc",)):
        assert [name for name, p in model.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["conv1.weight"]


def test_a_model_without_patches_is_refused(taught) -> None:
    train, val, outputs = taught
    torch.manual_seed(0)
    plain = build("efficient-vit", input_size=32, backbone_width=0.25, patch=1, width=8, depth=1, hidden=8)
    with pytest.raises(ConfigurationError, match="patch distillation needs patches of teacher and student; got 1"):
        distill(plain, outputs, train, val, SETTINGS, seed=0, report=quiet)


def test_a_teacher_whose_logits_stand_off_is_judged_as_its_calibrated_self():
    train, val = pictures(48, 0), pictures(24, 1)
    torch.manual_seed(2)
    plain = build("ladeda", width=4, depths=[1, 1, 1, 1]).eval()
    with torch.no_grad():  # the last layer looks along what tells the classes apart
        found = plain.features(*train.batch(slice(0, 48))).mean((2, 3))
        plain.fc.weight[0, :, 0, 0] = (found[1::2].mean(0) - found[::2].mean(0)) / (found.var(0) + 1e-12)
    shifted = deepcopy(plain)
    shifted.rescale(3000.0, 70_000.0)
    raw = classification_metrics(val.labels, predict_logits(shifted, val).numpy())
    assert (raw.accuracy, raw.auc > 0.9) == (0.5, True)  # it tells them apart, but not at 0
    logits = [predict_logits(calibrate_teacher(teacher, train), val) for teacher in (plain, shifted)]
    torch.testing.assert_close(logits[0], logits[1], atol=1e-2, rtol=1e-2)
    judged = [classification_metrics(val.labels, each.numpy()) for each in logits]
    assert judged[0].accuracy == judged[1].accuracy > 0.8
    assert judged[1].auc == raw.auc
    out = shifted(*val.batch(slice(0, 4)))
    torch.testing.assert_close(out.patches.mean((1, 2)), out.logit[:, 0], atol=1e-4, rtol=1e-4)


def test_a_teacher_without_patches_stays_as_it_is(model_of, train):
    teacher = model_of()
    before = predict_logits(teacher, train)
    assert torch.equal(predict_logits(calibrate_teacher(teacher, train), train), before)
