import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from paretolens.errors import ConfigurationError
from paretolens.models.receptive import Field
from paretolens.trainers.cache import TeacherOutputs
from paretolens.trainers.calibration import calibrate, platt
from paretolens.trainers.views import View


def outputs_of(logits: torch.Tensor, patches: torch.Tensor) -> TeacherOutputs:
    """(N, 1) and (N, h, w) as cached outputs, whose mirrored view is the same turned round."""
    both = (logits.numpy(), patches.numpy()), (logits.numpy(), patches.flip(-1).numpy())
    count = len(logits)
    return TeacherOutputs(
        views=(View.PLAIN, View.MIRRORED),
        logit=np.stack([view[0] for view in both]),
        offset=np.zeros((2, count, 0), np.float32),
        attention=np.zeros((2, count, 0, 0), np.float16),
        patches=np.stack([view[1] for view in both]),
        fingerprint="fixed",
        patch_field=Field(size=9, stride=8),
    )


def smoothed_cross_entropy(values: np.ndarray, z: np.ndarray, y: np.ndarray) -> float:
    targets = np.where(y > 0.5, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
    x = values[0] * z + values[1]
    return float(np.mean(np.logaddexp(0, x) - targets * x))


@pytest.mark.parametrize(("scale", "shift", "noise"), [(1.0, 0.0, 2.0), (5000.0, 7e4, 2.0), (1e-3, -0.2, 0.1)])
def test_platt_finds_the_likeliest_map(scale: float, shift: float, noise: float) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(200) % 2).float()
    plain = 2 * labels - 1 + noise * torch.randn(200, generator=generator)
    slope, offset = platt(plain * scale + shift, labels)
    z, y = plain.double().numpy(), labels.double().numpy()
    wanted = minimize(smoothed_cross_entropy, (1.0, 0.0), args=(z, y), tol=1e-12)
    assert slope * scale == pytest.approx(wanted.x[0], rel=1e-3)
    assert slope * shift + offset == pytest.approx(wanted.x[1], rel=1e-2, abs=1e-3)


def test_classes_that_a_threshold_separates_keep_finite_verdicts() -> None:
    labels = torch.cat((torch.zeros(60), torch.ones(40)))
    slope, offset = platt(torch.where(labels > 0, 9000.0, 1000.0), labels)
    found = torch.sigmoid(torch.tensor([1000.0, 9000.0]) * slope + offset)
    torch.testing.assert_close(found, torch.tensor([1 / 62, 41 / 42]), atol=1e-4, rtol=0)


def test_patches_still_average_to_the_verdict(train) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = train.targets(slice(0, len(train)))
    patches = 4000 * torch.randn(len(train), 6, 6, generator=generator) + 3000 * labels[:, :, None]
    outputs = calibrate(outputs_of(patches.mean((1, 2))[:, None], patches), train)
    batch = outputs.batch(torch.arange(len(train)))
    torch.testing.assert_close(batch.patches.mean((1, 2)), batch.logit[:, 0], atol=1e-4, rtol=1e-4)
    assert batch.logit.abs().max() < 20
    assert outputs.patch_spread == pytest.approx(float(batch.patches.var(correction=0)), rel=1e-4)
    mirrored = outputs.batch(torch.tensor([3]), torch.tensor([True]))
    torch.testing.assert_close(mirrored.patches[0], batch.patches[3].flip(-1))
    assert (outputs.patch_field, len(outputs), outputs.views) == (Field(size=9, stride=8), len(train), tuple(View))


def test_the_map_is_part_of_the_fingerprint(train) -> None:
    labels = train.targets(slice(0, len(train)))
    noise = torch.randn(len(train), 1, generator=torch.Generator().manual_seed(0))
    patches = (labels + noise)[:, :, None].expand(-1, 2, 2).contiguous()
    found = [calibrate(outputs_of(factor * (labels + noise), patches), train).fingerprint for factor in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_a_teacher_that_takes_real_for_fake_is_refused() -> None:
    labels = (torch.arange(20) % 2).float()
    with pytest.raises(ConfigurationError, match="higher for fake than for real"):
        platt(-labels, labels)
    with pytest.raises(ConfigurationError, match="must be finite"):
        platt(labels / 0, labels)
