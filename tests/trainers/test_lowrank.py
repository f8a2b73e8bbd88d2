import math

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from paretolens.exporters.onnx import export_onnx
from paretolens.models.record import load_model, save_model
from paretolens.models.rules import PruningRules
from paretolens.spaces.pinpoint import PinpointFamily
from paretolens.trainers.cost import cost_of
from paretolens.trainers.lowrank import Decomposition, LowRankSettings, factorise
from paretolens.trainers.prune import PruneSettings, prune
from paretolens.trainers.quantise import QuantiseSettings, quantise

NO_RULES = PruningRules(kept=(), attentions=())


def low_rank(layer: nn.Module, rank: int) -> nn.Module:
    """The layer with a weight of that rank in every unfolding, and of that CP rank."""
    generator = torch.Generator().manual_seed(0)
    factors = [torch.randn(size, rank, generator=generator) for size in layer.weight.shape]
    letters = "abcd"[: len(factors)]
    equation = ",".join(f"{letter}z" for letter in letters) + f"->{letters}"
    with torch.no_grad():
        layer.weight.copy_(torch.einsum(equation, *factors))
    return layer


class One(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


LAYERS = [
    (lambda: nn.Linear(32, 24), (2, 5, 32)),
    (lambda: nn.Conv2d(32, 24, 1, stride=2), (2, 32, 9, 9)),
    (lambda: nn.Conv2d(16, 24, 3, stride=2, padding=1), (2, 16, 9, 9)),
    (lambda: nn.Conv2d(16, 24, (3, 1), padding=(1, 0), bias=False), (2, 16, 9, 9)),
    (lambda: nn.Conv1d(16, 24, 5, padding=4, dilation=2), (2, 16, 20)),
]


@pytest.mark.parametrize("decomposition", Decomposition)
@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_a_layer_of_low_rank_keeps_its_outputs(make, shape, decomposition: Decomposition) -> None:
    torch.manual_seed(0)
    model, x = One(low_rank(make(), 3)), torch.randn(shape)
    before = model(x).detach()
    settings = LowRankSettings(energy=0.999999, decomposition=decomposition, iterations=300)
    report = factorise(model, (x,), settings, NO_RULES)
    (layer,) = report.layers
    assert layer.reason == ""
    assert set(layer.ranks) <= {3, 4}  # CP tries ranks in growing steps
    assert isinstance(model.layer, nn.Sequential)
    assert torch.allclose(model(x), before, atol=2e-3 * float(before.abs().max()))
    assert report.after.macs < report.before.macs
    # counted by torch; CP's count is an upper bound where a stride makes an axis shorter
    assert layer.macs_before == report.before.macs
    assert report.after.macs <= layer.macs_after <= 1.2 * report.after.macs


def test_the_rank_is_the_smallest_that_keeps_the_energy() -> None:
    generator = np.random.default_rng(0)
    u, v = (np.linalg.qr(generator.normal(size=(size, 20)))[0] for size in (40, 30))
    values = 0.8 ** np.arange(20)
    layer = nn.Linear(30, 40, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(u * values @ v.T))
    (found,) = factorise(One(layer), (torch.zeros(1, 30),), LowRankSettings(energy=0.9), NO_RULES).layers
    share = np.cumsum(values**2) / np.sum(values**2)
    assert found.ranks == (int(np.argmax(share >= 0.9)) + 1,)


@pytest.mark.parametrize("energy", [0.99, 1.0])
def test_a_chain_that_saves_nothing_is_not_kept(energy: float) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(32, 32)
    nn.init.orthogonal_(layer.weight)
    model = One(layer)
    report = factorise(model, (torch.zeros(1, 32),), LowRankSettings(energy=energy), NO_RULES)
    assert model.layer is layer
    assert report.after == report.before
    refused = "all of the energy was asked to stay"
    no_gain = "at rank 32 it would take 2,048 multiply-accumulates instead of 1,024"
    assert report.layers[0].reason == (no_gain if energy < 1 else refused)


def test_depthwise_and_odd_paddings_are_left_with_the_reason() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.Conv2d(8, 8, 3, padding="same"))
    report = factorise(model, (torch.zeros(1, 8, 8, 8),), LowRankSettings(energy=0.5), NO_RULES)
    assert [layer.reason.split(";")[0] for layer in report.layers] == [
        "a grouped convolution is thin already",
        "its padding is 'same' of zeros",
    ]


@pytest.mark.parametrize("decomposition", Decomposition)
def test_a_pruned_detector_is_factorised_saved_quantised_and_exported(
    model_of, train, tmp_path, decomposition: Decomposition
) -> None:
    model, example = model_of(backbone="resnet18", backbone_width=0.25, width=48, ffn=4), train.batch(slice(0, 2))
    for name, parameter in model.named_parameters():  # trained weights are of low rank, fresh ones are not
        if parameter.dim() > 1 and "layer" in name:
            low_rank(model.get_submodule(name.rpartition(".")[0]), 2)
            parameter.data /= math.sqrt(parameter[0].numel()) * parameter.std()
    family = PinpointFamily()
    prune(model, example, PruneSettings(ratio=0.3), family.pruning_rules(model))
    model.eval()
    report = factorise(
        model, example, LowRankSettings(energy=0.8, decomposition=decomposition, iterations=10), family.pruning_rules(model)
    )
    changed = [layer for layer in report.layers if not layer.reason]
    assert changed
    assert report.after == cost_of(model, example)
    assert report.after.macs < report.before.macs
    assert not any(".cross." in layer.path or ".attend." in layer.path for layer in changed)
    with torch.no_grad():
        wanted = model(*example).logit
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert torch.allclose(again(*example).logit, wanted, atol=1e-6)
    artefact = export_onnx(model, train.signature, example, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(artefact.path), providers=["CPUExecutionProvider"])
    inputs = {spec.name: x.numpy() for spec, x in zip(train.signature.inputs, example, strict=True)}
    assert np.abs(session.run(["logit"], inputs)[0] - wanted.numpy()).max() < 1e-4
    done = quantise(model, example, QuantiseSettings(), batches=[example])
    inside = {layer.path: layer.quantised for layer in done.layers if layer.path.startswith(f"{changed[0].path}.")}
    assert inside and any(inside.values())
