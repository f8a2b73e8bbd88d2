import random
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.backbones import backbone_names, backbone_widths
from paretolens.models.record import load_model, save_model
from paretolens.models.rules import attentions
from paretolens.spaces.pinpoint import PinpointFamily, PinpointSettings, PinpointTeacher

FAMILY = PinpointFamily()
SIGNATURE = FAMILY.signature(PinpointSettings())


def student(**changes: object) -> nn.Module:
    return FAMILY.student({**FAMILY.space("default").default(), **changes}, SIGNATURE, seed=0).eval()


def clip(batch: int) -> tuple[Tensor, ...]:
    masks = torch.arange(8) >= 6, torch.arange(80) >= 60
    return torch.randn(batch, 8, 3, 64, 64), torch.randn(batch, 80, 13), *(mask.expand(batch, -1) for mask in masks)


def test_the_published_settings_give_the_published_teacher():
    shape = PinpointTeacher(backbone_width=1.0, width=256, freeze_through="layer2")
    settings = PinpointSettings(frames=30, frame_size=128, audio_frames=300, teacher=shape)
    assert sum(p.numel() for p in FAMILY.teacher(settings).parameters()) == 14_998_732
    FAMILY.check(FAMILY.space("published"), replace(settings, teacher=replace(shape, freeze_through=None)))


def test_the_teacher_begins_from_a_trained_backbone_and_keeps_its_first_stages(tmp_path: Path) -> None:
    donor = torchvision.models.resnet18(weights=None)
    torch.save(donor.state_dict(), tmp_path / "resnet18.pth")
    shape = PinpointTeacher(backbone_width=1.0, freeze_through="layer2", backbone_weights=str(tmp_path / "resnet18.pth"))
    FAMILY.check(FAMILY.space("default"), PinpointSettings(teacher=shape))
    backbone = FAMILY.teacher(PinpointSettings(teacher=shape), seed=3).get_submodule("video.backbone")
    assert torch.equal(backbone.get_parameter("stages.stem.conv.weight"), donor.conv1.weight)
    assert torch.equal(backbone.get_parameter("stages.layer4.1.conv2.weight"), donor.layer4[1].conv2.weight)
    frozen = {name.split(".")[1] for name, weight in backbone.named_parameters() if not weight.requires_grad}
    assert frozen == {"stem", "layer1", "layer2"}
    bare = PinpointSettings(teacher=PinpointTeacher(backbone_width=1.0, freeze_through="layer2"))
    with pytest.raises(ConfigurationError, match=r"freeze_through is layer2: .*model\.teacher\.backbone_weights"):
        FAMILY.check(FAMILY.space("default"), bare)


def test_the_published_space_holds_pin_lite():
    space = FAMILY.space("published")
    genome = space.default()
    signature = FAMILY.signature(PinpointSettings(frames=30, frame_size=128, audio_frames=300))
    assert sum(p.numel() for p in FAMILY.student(genome, signature).parameters()) == 1_694_508


def test_the_default_students_are_at_least_ten_times_smaller_at_their_smallest():
    teacher = sum(p.numel() for p in FAMILY.teacher(PinpointSettings()).parameters())
    least = student(
        backbone_width=0.25, frames=4, frame_size=32, audio_width=32, width=32, depth=1, heads=2, ffn=1, audio_head="gru"
    )
    assert sum(p.numel() for p in least.parameters()) * 10 < teacher


@pytest.mark.parametrize("preset", FAMILY.presets)
def test_every_sample_has_a_width_its_backbone_offers(preset):
    space, rng = FAMILY.space(preset), random.Random(1)
    for _ in range(200):
        genome = space.sample(rng)
        space.validate(genome)
        assert genome["backbone_width"] in backbone_widths(genome["backbone"])
        assert genome["width"] % genome["heads"] == 0


def test_heads_that_do_not_divide_are_repaired_in_the_space_and_refused_in_the_model():
    space = FAMILY.space("default").override({"width": [32, 36], "heads": [3, 4, 8]})
    genome = {**space.default(), "width": 36, "heads": 8}
    assert space.repair(genome)["heads"] == 4
    with pytest.raises(ConfigurationError, match="heads 8 does not fit the others, 4 would"):
        space.validate(genome)
    with pytest.raises(ConfigurationError, match="width 36 and heads 8"):
        FAMILY.student(genome, SIGNATURE)


def test_widths_and_heads_that_never_fit_are_found_at_once():
    with pytest.raises(ConfigurationError, match="knob heads: no choice divides width 64; allow a divisor of 64"):
        FAMILY.space("default").override({"heads": [3]})
    with pytest.raises(ConfigurationError, match=r"no choice fits backbone mobilenetv4_conv_small; allow one of 0.35, 0.5, 1"):
        FAMILY.space("default").override({"backbone_width": [0.25]})


def test_other_backbones_and_widths_can_be_asked_for():
    space = FAMILY.space("default").override({"backbone": ["resnet18", "regnet_y_400mf"], "backbone_width": [0.5, 1.0]})
    assert space.repair({**space.default(), "backbone": "regnet_y_400mf", "backbone_width": 1.0})["backbone_width"] == 1.0
    with pytest.raises(ConfigurationError, match=r"'resnet19' is not allowed; did you mean resnet18\?"):
        space.override({"backbone": ["resnet19"]})


@pytest.mark.parametrize(("name", "value"), [("frames", 16), ("frame_size", 96)])
def test_more_than_the_input_has_is_found_before_training(name, value):
    space = FAMILY.space("default").override({name: [4, value] if name == "frames" else [32, value]})
    with pytest.raises(ConfigurationError, match=f"knob {name}: {value} is more than the input's"):
        FAMILY.check(space, PinpointSettings())


def test_a_teacher_that_cannot_be_built_is_found_before_training():
    with pytest.raises(ConfigurationError, match="'resnet19' is not known"):
        FAMILY.check(FAMILY.space("default"), PinpointSettings(teacher=PinpointTeacher(backbone="resnet19")))


def test_the_temperature_is_idle_without_soft_targets():
    space = FAMILY.space("default")
    assert "temperature" not in space.active({**space.default(), "alpha": 1.0})
    assert "temperature" in space.active(space.default())


def pruned(model: nn.Module) -> nn.Module:
    """The model after torch-pruning took half of the heads and channels, by the family's rules."""
    import torch_pruning as tp

    rules = FAMILY.pruning_rules(model)
    heads = {
        layer: module.num_heads
        for path in rules.attentions
        for layer in _inputs(model.get_submodule(path))
        for module in [model.get_submodule(path)]
    }
    model.return_maps = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = tp.pruner.BasePruner(
            model,
            clip(1),
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=0.5,
            head_pruning_ratio=0.5,
            num_heads=heads,
            prune_num_heads=True,
            prune_head_dims=False,
            ignored_layers=[model.get_submodule(path) for path in rules.paths],
            round_to=8,
        )
        pruner.step()
    for _, attention in attentions(model):
        attention.num_heads = pruner.num_heads[attention.q]
    model.return_maps = True
    return model


def _inputs(attention: nn.Module) -> tuple[nn.Module, ...]:
    return attention.q, attention.k, attention.v


@pytest.mark.parametrize("backbone", backbone_names())
def test_students_can_be_pruned_for_real_and_saved(backbone, tmp_path: Path):
    head = "tcn" if backbone in ("resnet18", "shufflenet_v2_x0_5") else "gru"
    model = student(backbone=backbone, backbone_width=0.5, audio_head=head, heads=4)
    before = sum(p.numel() for p in model.parameters())
    kept = {
        path: model.get_submodule(path).weight.shape[0] for path in FAMILY.pruning_rules(model).paths if not path.endswith("head")
    }
    pruned(model)
    assert sum(p.numel() for p in model.parameters()) < 0.6 * before
    for _, attention in attentions(model):
        assert attention.num_heads == 2
        assert attention.head_dim == 16
        assert attention.num_heads * attention.head_dim == attention.proj.in_features == attention.v.out_features
    assert all(block.ffn.expand.out_features == 64 for block in model.blocks)
    assert {path: model.get_submodule(path).weight.shape[0] for path in kept} == kept
    inputs = clip(2)
    out = model(*inputs)
    assert all(torch.isfinite(field).all() for field in out)
    save_model(model, tmp_path)
    for ours, theirs in zip(out, load_model(tmp_path)(*inputs), strict=True):
        torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=0)


def test_every_kept_layer_has_a_reason():
    rules = FAMILY.pruning_rules(student(backbone="shufflenet_v2_x0_5"))
    assert len(set(rules.paths)) == len(rules.paths)
    assert all(layer.reason for layer in rules.kept)
    assert set(rules.attentions) == {"blocks.0.cross", "blocks.0.attend", "blocks.1.cross", "blocks.1.attend"}


@pytest.mark.parametrize(
    "changes", [{"shared_keys": True}, {"attention_rank": 0.25}, {"shared_keys": True, "attention_rank": 0.5}]
)
def test_cheaper_attention_is_smaller_pruned_saved_and_exported(changes: dict[str, object], tmp_path: Path) -> None:
    from paretolens.exporters.onnx import export_onnx
    from paretolens.exporters.parity import check_parity
    from paretolens.trainers.prune import PruneSettings, prune

    plain, model = student(), student(**changes)
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in plain.parameters())
    prune(model, clip(2), PruneSettings(ratio=0.4), FAMILY.pruning_rules(model))
    assert [attention.num_heads for _, attention in attentions(model)] == [4] * 4
    save_model(model, tmp_path / "model")
    inputs = clip(3)
    wanted = model(*inputs)
    torch.testing.assert_close(load_model(tmp_path / "model")(*inputs).logit, wanted.logit)
    export_onnx(model, SIGNATURE, inputs, tmp_path / "model.onnx")
    check_parity(model, tmp_path / "model.onnx", [inputs])
