import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from torch import nn

from paretolens.errors import IntegrityError
from paretolens.models.modes import standing_still
from paretolens.models.signature import Detection
from paretolens.trainers.paths import cache_paths, path_evidence


def baseline_of(samples):
    return [None if x.dtype == torch.bool else torch.zeros_like(x[:1]) for x in samples.batch(slice(0, 1))]


def test_the_mean_over_the_path_is_integrated_gradients(train, model_of) -> None:
    """Captum's Gauss–Legendre rule over the same 24 nodes is the reference; sound has no cells, so that it is equal as it is."""
    model = model_of().eval()
    inputs, baseline = train.batch(slice(0, 3)), baseline_of(train)
    nodes, weights = np.polynomial.legendre.leggauss(24)
    maps = [
        [part * weight / 2 for part in path_evidence(model, inputs, baseline, torch.full((3,), (node + 1) / 2), train.signature)]
        for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True)
    ]
    video, audio = (sum(parts) for parts in zip(*maps, strict=True))
    expected_video, expected_audio = IntegratedGradients(lambda v, a, vm, am: model(v, a, vm, am).logit[:, 0]).attribute(
        inputs[:2], tuple(baseline[:2]), additional_forward_args=inputs[2:], n_steps=24, method="gausslegendre"
    )
    assert torch.allclose(audio, expected_audio.flatten(1).float(), atol=1e-6)
    cells = expected_video.sum(2).unflatten(-1, (16, -1)).unflatten(2, (16, -1)).mean(dim=(3, 5))
    assert torch.allclose(video, cells.flatten(1).float(), atol=1e-6)


def test_places_are_spread_over_the_path_and_the_entry_is_made_once(train, model_of, tmp_path) -> None:
    model, baseline = model_of(), baseline_of(train)
    first = cache_paths(model, train, baseline, tmp_path, seed=3)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    again = cache_paths(model, train, baseline, tmp_path, seed=3)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == written
    assert all(np.array_equal(a, b) for a, b in zip(first.maps, again.maps, strict=True))
    quarter = np.floor(np.asarray(first.places) * 4)
    assert (quarter == np.arange(4)).all()
    other = [start if start is None else start + 1 for start in baseline]
    assert cache_paths(model, train, other, tmp_path, seed=3).fingerprint != first.fingerprint


def test_only_what_the_teacher_calls_fake_is_explained(train, model_of, tmp_path) -> None:
    model = model_of().eval()
    paths = cache_paths(model, train, baseline_of(train), tmp_path, seed=0)
    with torch.no_grad():
        verdict = (model(*train.batch(slice(0, len(train)))).logit > 0).numpy()[:, 0]
    assert np.array_equal(paths.fake, verdict)
    assert all(not maps[~verdict].any() and maps[verdict].any() for maps in paths.maps)


def test_a_damaged_entry_is_named(train, model_of, tmp_path) -> None:
    model, baseline = model_of(), baseline_of(train)
    cache_paths(model, train, baseline, tmp_path, seed=0)
    (damaged,) = tmp_path.rglob("maps0.npy")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(IntegrityError, match=damaged.parent.name):
        cache_paths(model, train, baseline, tmp_path, seed=0)


class Hard(nn.Module):
    """Hard sigmoid and hard swish, which torch differentiates once only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(13, 8), nn.Linear(8, 1)
        self.gate, self.bend = nn.Hardsigmoid(), nn.Hardswish()
        self.norm, self.dropout = nn.BatchNorm1d(8), nn.Dropout(0.5)

    def forward(self, video, audio, video_mask, audio_mask):
        x = self.bend(self.first(audio.mean(1)))
        x = self.dropout(self.norm(x * self.gate(x)))
        return Detection(self.last(x) + video.mean(), x.new_zeros(len(x), 11), x.new_zeros(len(x), 0, 0))


def test_hard_activations_can_be_aligned(train) -> None:
    torch.manual_seed(0)
    model, inputs, baseline = Hard(), train.batch(slice(0, 4)), baseline_of(train)
    alpha = torch.full((4,), 0.7)
    with standing_still(model):
        _, sound = path_evidence(model, inputs, baseline, alpha, train.signature, differentiable=True)
        again = path_evidence(model, inputs, baseline, alpha, train.signature, differentiable=True)[1]
    assert torch.equal(sound, again)  # neither dropout nor batch statistics
    assert model.dropout.training
    sound.square().sum().backward()
    weight = model.first.weight
    step, entry = 1e-3, (2, 2)

    def value(change: float) -> float:
        with torch.no_grad():
            weight[entry] += change
        with standing_still(model):
            found = path_evidence(model, inputs, baseline, alpha, train.signature)[1].square().sum().item()
        with torch.no_grad():
            weight[entry] -= change
        return found

    assert weight.grad[entry].item() == pytest.approx((value(step) - value(-step)) / (2 * step), rel=1e-2)


def test_evidence_is_computed_where_the_model_is(train, model_of, tmp_path, gpu) -> None:
    model, baseline = model_of().eval(), baseline_of(train)
    here = cache_paths(model, train, baseline, tmp_path / "cpu", seed=0)
    with gpu.pretended_gpu():
        there = cache_paths(model.to(gpu.CUDA), train, baseline, tmp_path / "gpu", seed=0)
    assert np.array_equal(here.fake, there.fake)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(here.maps, there.maps, strict=True))


def test_recurrent_layers_are_differentiated_without_cudnn_on_a_gpu(train, model_of, gpu) -> None:
    model, baseline, alpha = model_of(audio_head="gru").eval(), baseline_of(train), torch.full((2,), 0.5)
    (recurrent,) = (module for module in model.modules() if isinstance(module, nn.GRU))
    seen: list[bool] = []
    recurrent.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.enabled))
    path_evidence(model, train.batch(slice(0, 2)), baseline, alpha, train.signature)
    with gpu.pretended_gpu():
        inputs = [x.to(gpu.CUDA) for x in train.batch(slice(0, 2))]
        path_evidence(model.to(gpu.CUDA), inputs, baseline, alpha.to(gpu.CUDA), train.signature, differentiable=True)
    assert seen == [True, False]
    assert torch.backends.cudnn.enabled
