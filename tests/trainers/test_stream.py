"""Narrowing the residual stream: every width fits, silenced channels go first, and taking them away changes nothing but norms."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.exporters.onnx import export_onnx
from paretolens.models.record import load_model, save_model
from paretolens.spaces.pinpoint import PinpointFamily
from paretolens.trainers.prune import PruneSettings, prune
from paretolens.trainers.prune_steps import prune_in_steps
from paretolens.trainers.stream import narrow_stream, stream_importance, stream_width

SETTINGS = PruneSettings(ratio=0.5, stream_ratio=0.5)


def rules_of(model):
    return PinpointFamily().pruning_rules(model)


@pytest.mark.parametrize("head", ["gru", "tcn"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
def test_a_narrowed_model_trains_is_rebuilt_and_exported(model_of, train, tmp_path, head: str, positions: str) -> None:
    model = model_of(audio_head=head, video_positions=positions, audio_positions=positions)
    report = prune(model, train.batch(slice(0, 2)), SETTINGS, rules_of(model))
    assert stream_width(model, rules_of(model).stream) == 16
    assert report.after.parameters < report.before.parameters
    named = {layer.path: layer for layer in report.layers}
    for path in ("video.project", "audio.head" if head == "gru" else "audio.head.entry", "blocks.0.ffn.contract"):
        assert (named[path].after, named[path].reason) == (16, "")
    inputs = train.batch(slice(0, 5))
    model.train()(*inputs).logit.sum().backward()
    assert all(parameter.grad is not None for parameter in model.blocks.parameters())
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    with torch.no_grad():
        wanted = model.eval()(*inputs)
        assert all(torch.equal(a, b) for a, b in zip(wanted, again(*inputs), strict=True))
    export_onnx(again, train.signature, train.batch(slice(0, 2)), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    feed = {spec.name: value.numpy() for spec, value in zip(train.signature.inputs, inputs, strict=True)}
    assert np.abs(session.run(["logit"], feed)[0] - wanted.logit.numpy()).max() < 1e-4


@pytest.mark.parametrize("head", ["gru", "tcn"])
def test_channels_that_carry_nothing_are_taken_and_nothing_changes(model_of, train, head: str) -> None:
    model = model_of(audio_head=head, video_positions="none", audio_positions="none")
    stream, dead = rules_of(model).stream, torch.arange(1, 32, 2)
    for module in model.modules():  # a norm averages over all channels, so it would see that some are gone
        for name, child in list(module.named_children()):
            if isinstance(child, nn.LayerNorm) and child.normalized_shape == (32,) and name != "norm":
                setattr(module, name, nn.Identity())
    with torch.no_grad():
        for path in stream.writers:
            silence(model.get_submodule(path), dead)
    assert stream_importance(model, stream)[dead].max() < stream_importance(model, stream)[::2].min()
    inputs = train.batch(slice(0, 4))
    with torch.no_grad():
        before = model.eval()(*inputs)
        narrow_stream(model, replace(stream, norms=()), torch.arange(0, 32, 2))
        after = model(*inputs)
    assert torch.allclose(before.logit, after.logit, atol=1e-5)
    assert torch.allclose(before.attention, after.attention, atol=1e-5)


def silence(module: nn.Module, dead: torch.Tensor) -> None:
    """No weight writes these channels, and a GRU's state of them stays 0."""
    if isinstance(module, nn.GRU):
        for block in range(3):
            for weight in (module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0, module.bias_hh_l0):
                weight[dead + 32 * block] = 0
        module.weight_hh_l0[:, dead] = 0
        return
    module.weight[dead] = 0
    if module.bias is not None:
        module.bias[dead] = 0


def test_steps_share_the_stream_too(model_of, train) -> None:
    model = model_of(width=64, heads=4)
    seen: list[int] = []
    prune_in_steps(
        model, train.batch(slice(0, 2)), replace(SETTINGS, steps=2), rules_of(model),
        repair=lambda: seen.append(stream_width(model, rules_of(model).stream)),
    )  # fmt: skip
    assert seen == [48, 32]


def test_without_a_stream_it_is_refused(model_of, train) -> None:
    model = model_of()
    with pytest.raises(ConfigurationError, match=r"stream_ratio 0\.5: this model names no residual stream"):
        prune(model, train.batch(slice(0, 2)), SETTINGS, replace(rules_of(model), stream=None))
    broken = replace(rules_of(model).stream, writers=("video.project", "blocks.0.ffn.expand"))
    with pytest.raises(ConfigurationError, match=r"has 32 channels, layer blocks\.0\.ffn\.expand 64"):
        stream_importance(model, broken)
