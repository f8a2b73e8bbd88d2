from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from paretolens.errors import ConfigurationError
from paretolens.exporters.onnx import export_onnx
from paretolens.models.record import load_model, save_model
from paretolens.models.rules import KeptLayer, PruningRules
from paretolens.spaces.pinpoint import PinpointFamily
from paretolens.trainers.cost import cost_of
from paretolens.trainers.losses import hard_loss
from paretolens.trainers.prune import Importance, PruneSettings, Scope, prune, removable

SETTINGS = PruneSettings(ratio=0.5)
BACKBONES = (
    ("resnet18", 0.25),
    ("mobilenet_v3_small", 0.5),
    ("mobilenetv4_conv_small", 0.35),
    ("shufflenet_v2_x0_5", 0.5),
    ("regnet_y_400mf", 0.5),
    ("efficientnet_b0", 0.25),
)


def rules_of(model) -> PruningRules:
    return PinpointFamily().pruning_rules(model)


@pytest.mark.parametrize(
    ("width", "wanted", "options", "gone"),
    [
        (32, 16.0, {}, 16),
        (32, 9.6, {}, 8),  # 22.4 left is nearest to 24
        (24, 12.0, {}, 8),  # 12 left lies between 8 and 16; Python rounds 1.5 to 2
        (8, 4.0, {}, 0),  # one multiple stays
        (10, 9.0, {"round_to": 1}, 8),  # at most .8 goes
        (40, 39.0, {"most": 1.0}, 32),
        (6, 3.0, {}, 0),
        (8, 4.0, {"groups": 4}, 4),  # 4 groups of 8 channels: the rest is a multiple of 8
    ],
)
def test_how_many_channels_may_go(width: int, wanted: float, options: dict[str, float], gone: int) -> None:
    plain = {"groups": 1, "round_to": 8, "most": 0.8} | options
    assert removable(width, wanted, **plain) == gone


@pytest.mark.parametrize(("backbone", "width"), BACKBONES)
def test_every_backbone_loses_weight_for_real(model_of, train, backbone: str, width: float) -> None:
    model = model_of(backbone=backbone, backbone_width=width, width=32)
    example = train.batch(slice(0, 2))
    report = prune(model, example, SETTINGS, rules_of(model))
    assert report.after == cost_of(model, example)
    assert report.after.parameters < 0.75 * report.before.parameters
    assert report.after.macs < 0.8 * report.before.macs
    changed = [layer for layer in report.layers if layer.after < layer.before]
    assert all(layer.reason == "" for layer in changed) and all(layer.reason for layer in report.unpruned)
    assert len(changed) + len(report.unpruned) == len(report.layers)
    if backbone != "regnet_y_400mf":  # its grouped convolutions lose the same from each group
        assert all(layer.after % 8 == 0 for layer in changed if layer.kind in ("conv", "depthwise"))
    model.train()
    out = model(*train.batch(slice(0, 6)))
    (out.logit.sum() + out.attention.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in model.blocks.parameters() if parameter.requires_grad)


def test_whole_heads_go_and_the_widths_fit(model_of, train) -> None:
    model = model_of()
    stays = model.blocks[0].cross.q.weight.detach().clone()
    prune(model, train.batch(slice(0, 2)), SETTINGS, rules_of(model))
    for attention in (model.blocks[0].cross, model.blocks[0].attend):
        assert (attention.num_heads, attention.head_dim) == (2, 8)
        for layer in (attention.q, attention.k, attention.v):
            assert layer.out_features == attention.proj.in_features == 16
        assert attention.proj.out_features == 32
    rows = {int((stays - row).abs().sum(1).argmin()) for row in model.blocks[0].cross.q.weight.detach()}
    heads = {row // 8 for row in rows}
    assert len(rows) == 16 and len(heads) == 2


def test_pruned_heads_were_the_weakest_and_removing_them_equals_silencing_them(model_of, train) -> None:
    model, silenced = model_of(), model_of()
    with torch.no_grad():
        for other in (model, silenced):
            for layer in (other.blocks[0].cross, other.blocks[0].attend):
                layer.proj.weight[:, 8:16] *= 1e-3
                for name in ("q", "k", "v"):
                    getattr(layer, name).weight[8:16] *= 1e-3
        for layer in (silenced.blocks[0].cross, silenced.blocks[0].attend):
            layer.proj.weight[:, 8:16] = 0
    settings = replace(SETTINGS, ratio=1e-9, head_ratio=0.25)
    prune(model, train.batch(slice(0, 2)), settings, rules_of(model))
    inputs = train.batch(slice(0, 4))
    with torch.no_grad():
        assert torch.allclose(model.eval()(*inputs).logit, silenced.eval()(*inputs).logit, atol=1e-6)


def test_ratio_zero_leaves_the_model_alone(model_of, train) -> None:
    model, same = model_of(), model_of()
    report = prune(model, train.batch(slice(0, 2)), PruneSettings(ratio=0), rules_of(model))
    assert report.before == report.after
    assert all(layer.reason == "nothing was asked to go" or layer.reason for layer in report.layers)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), same.state_dict().values(), strict=True))


def test_what_the_rules_keep_is_kept_and_listed(model_of, train) -> None:
    model = model_of()
    rules = rules_of(model)
    kept = KeptLayer(path="blocks.0.ffn.expand", reason="for this test")
    report = prune(model, train.batch(slice(0, 2)), SETTINGS, replace(rules, kept=(*rules.kept, kept)))
    listed = {layer.path: layer.reason for layer in report.unpruned}
    assert model.blocks[0].ffn.expand.out_features == 64
    assert listed["blocks.0.ffn.expand"] == "for this test"
    assert "GRU" in listed["audio.convs.1"] or "recurrent" in listed["audio.convs.1"]
    assert {"verdict", "offset", "audio.head", "blocks.0.gate"} <= set(listed)


def test_limits_hold_layers_by_their_paths_and_say_so(model_of, train) -> None:
    model = model_of(backbone_width=0.5)
    limits = {"blocks.0.ffn.*": 0, "blocks.0.cross": 0.25, "*.layer4.*": 0.25, "no.such.layer": 0}
    report = prune(model, train.batch(slice(0, 2)), replace(SETTINGS, limits=limits), rules_of(model))
    layers = {layer.path: layer for layer in report.layers}
    assert (layers["blocks.0.ffn.expand"].before, layers["blocks.0.ffn.expand"].after) == (64, 64)
    assert layers["blocks.0.ffn.expand"].reason == "limits let blocks.0.ffn.* lose 0% at most"
    heads = {path: layers[path].after for path in ("blocks.0.cross", "blocks.0.attend")}
    assert heads == {"blocks.0.cross": 3, "blocks.0.attend": 2}, "the latter loses its half of four"
    fourth = [layer for path, layer in layers.items() if ".layer4." in path]
    assert {layer.after / layer.before for layer in fourth} == {0.75}
    assert any(layer.after == 0.5 * layer.before for path, layer in layers.items() if ".layer3." in path)
    assert report.idle_limits == ("no.such.layer",)


def test_a_limit_is_the_reason_only_where_a_layer_would_lose_without_it(model_of, train) -> None:
    freely, held = model_of(backbone_width=0.5), model_of(backbone_width=0.5)
    inputs, rules = train.batch(slice(0, 2)), rules_of(held)
    before = prune(freely, inputs, SETTINGS, rules)
    after = prune(held, inputs, replace(SETTINGS, limits={"*": 0.5}), rules)
    assert after.layers == before.layers, "a limit of the ratio itself changes nothing, and no reason"
    assert not any(layer.reason.startswith("limits") for layer in after.layers)
    none = prune(model_of(backbone_width=0.5), inputs, replace(SETTINGS, limits={"*": 0}), rules)
    named = {layer.path for layer in none.layers if layer.reason == "limits let * lose 0% at most"}
    assert named and named <= {layer.path for layer in before.layers if layer.after < layer.before or layer.kind != "gru"}
    assert {layer.path for layer in before.layers if layer.after < layer.before} <= named


@pytest.mark.parametrize("importance", [Importance.TAYLOR, Importance.BN_SCALE])
def test_other_importances(model_of, train, importance: Importance) -> None:
    model = model_of()

    def loss(model):
        return hard_loss(model(*train.batch(slice(0, 8))).logit, train.targets(slice(0, 8)))

    settings = replace(SETTINGS, importance=importance)
    report = prune(model, train.batch(slice(0, 2)), settings, rules_of(model), loss=loss)
    assert report.after.macs < 0.8 * report.before.macs
    assert all(parameter.grad is None for parameter in model.parameters())


def test_bn_scale_takes_the_channels_with_the_smallest_scales(model_of, train) -> None:
    model = model_of(backbone_width=0.25)
    norm = model.video.backbone.stages.layer1[0].bn1
    with torch.no_grad():
        norm.weight.copy_(torch.arange(16) / 16 + 0.1)
    prune(model, train.batch(slice(0, 2)), replace(SETTINGS, importance=Importance.BN_SCALE), rules_of(model))
    assert torch.allclose(model.video.backbone.stages.layer1[0].bn1.weight, torch.arange(8, 16) / 16 + 0.1)


def test_taylor_needs_a_loss(model_of, train) -> None:
    model = model_of()
    with pytest.raises(ConfigurationError, match="needs a loss"):
        prune(model, train.batch(slice(0, 2)), replace(SETTINGS, importance=Importance.TAYLOR), rules_of(model))


def test_the_whole_model_may_be_ranked_at_once(model_of, train) -> None:
    model = model_of(backbone_width=0.25)
    with torch.no_grad():
        model.blocks[0].ffn.expand.weight *= 1e-3
        model.blocks[0].ffn.contract.weight *= 1e-3
    report = prune(model, train.batch(slice(0, 2)), replace(SETTINGS, scope=Scope.MODEL, ratio=0.2), rules_of(model))
    widths = {layer.path: (layer.before, layer.after) for layer in report.layers}
    assert report.after.parameters < report.before.parameters
    assert all(after >= 0.2 * before for before, after in widths.values())


def test_frozen_weights_stay_frozen_and_the_mode_too(model_of, train) -> None:
    model = model_of(freeze_through="layer1").train()
    prune(model, train.batch(slice(0, 2)), SETTINGS, rules_of(model))
    assert model.training
    assert not any(p.requires_grad for p in model.video.backbone.stages.layer1.parameters())
    assert all(p.requires_grad for p in model.blocks.parameters())
    assert model.return_maps


def test_rules_of_another_model_are_refused(model_of, train) -> None:
    rules = rules_of(model_of(depth=2))
    with pytest.raises(ConfigurationError, match=r"'blocks\.1\.cross\.proj' is none"):
        prune(model_of(depth=1), train.batch(slice(0, 2)), SETTINGS, rules)


def test_a_pruned_model_is_saved_rebuilt_and_exported(model_of, train, tmp_path) -> None:
    model = model_of(audio_head="tcn")
    prune(model, train.batch(slice(0, 2)), SETTINGS, rules_of(model))
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    inputs = train.batch(slice(0, 5))
    with torch.no_grad():
        wanted = model.eval()(*inputs)
        assert all(torch.equal(a, b) for a, b in zip(wanted, again(*inputs), strict=True))
    export_onnx(again, train.signature, train.batch(slice(0, 2)), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    feed = {spec.name: value.numpy() for spec, value in zip(train.signature.inputs, inputs, strict=True)}
    assert np.abs(session.run(["logit"], feed)[0] - wanted.logit.numpy()).max() < 1e-4
