import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.exporters.onnx import export_onnx
from paretolens.exporters.parity import check_parity
from paretolens.models.backbones import backbone_names, backbone_widths
from paretolens.models.record import load_model, save_model
from paretolens.spaces.image_classifier import ClassifierSettings, ClassifierTeacher, ImageClassifierFamily
from paretolens.trainers.prune import PruneSettings, prune
from paretolens.trainers.quantise import QuantiseSettings, freeze, quantise

FAMILY = ImageClassifierFamily()
SETTINGS = ClassifierSettings(size=64)
SIGNATURE = FAMILY.signature(SETTINGS)
RESNET = {"network": "resnet18", "multiplier": 0.25}
VIT = {"network": "vit", "vit_width": 48, "vit_depth": 2, "vit_heads": 4, "vit_patch": 8}


def student(**changes: object) -> nn.Module:
    space = FAMILY.space("default")
    return FAMILY.student(space.repair({**space.default(), "input_size": 48, **changes}), SIGNATURE, seed=0).eval()


def pictures(batch: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(batch)),)


@pytest.mark.parametrize("preset", FAMILY.presets)
def test_every_sample_can_be_built_as_it_is(preset: str) -> None:
    space, rng = FAMILY.space(preset), random.Random(1)
    for _ in range(200):
        genome = space.sample(rng)
        space.validate(genome)
        if genome["network"] in backbone_names():
            assert genome["multiplier"] in backbone_widths(str(genome["network"]))
        if genome["network"] == "vit":
            assert int(genome["vit_width"]) % int(genome["vit_heads"]) == 0
            places, rest = divmod(int(genome["input_size"]), int(genome["vit_patch"]))
            assert (rest, places >= 4) == (0, True)


def test_knobs_that_do_nothing_are_idle() -> None:
    space = FAMILY.space("default")
    genome = space.default()
    assert not any(name.startswith("vit") for name in space.active(genome))
    of_vit = space.active(space.repair({**genome, **VIT}))
    assert "multiplier" not in of_vit
    assert of_vit["vit_width"] == 48


def test_any_network_of_a_library_may_be_a_choice_and_none_else() -> None:
    space = FAMILY.space("default").override({"network": ["timm:regnety_002", "torchvision:mobilenet_v3_small"]})
    FAMILY.check(space.override({"input_size": [64]}), SETTINGS)
    with pytest.raises(ConfigurationError, match=r"knob network: .*did you mean mobilenet_v3_small"):
        FAMILY.space("default").override({"network": ["mobilenet_v3_smal"]})


def test_a_student_larger_than_its_input_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="96 is more than the input's 64"):
        FAMILY.check(FAMILY.space("default"), SETTINGS)


@pytest.mark.parametrize(
    "genome",
    [
        VIT,
        {"network": "torchvision:mobilenet_v3_small"},
        *({"network": name, "multiplier": backbone_widths(name)[0]} for name in backbone_names()),
    ],
)
def test_a_pruned_student_answers_and_is_rebuilt(genome: dict[str, object], tmp_path: Path) -> None:
    space = FAMILY.space("default").override({"network": [genome["network"]], "multiplier": [genome.get("multiplier", 1.0)]})
    model = FAMILY.student(space.repair({**space.default(), "input_size": 48, **genome}), SIGNATURE, seed=0).eval()
    report = prune(model, pictures(2), PruneSettings(ratio=0.5), FAMILY.pruning_rules(model))
    assert report.after.parameters < 0.85 * report.before.parameters
    save_model(model, tmp_path / "m")
    torch.testing.assert_close(load_model(tmp_path / "m")(*pictures(2)).logit, model.eval()(*pictures(2)).logit)


def test_whole_heads_of_a_vit_go_and_its_stream_stays() -> None:
    model = student(**VIT)
    report = prune(model, pictures(2), PruneSettings(ratio=0.5), FAMILY.pruning_rules(model))
    heads = [layer for layer in report.layers if layer.kind == "heads"]
    assert [(layer.before, layer.after) for layer in heads] == [(4, 2), (4, 2)]
    kept = {layer.path: layer.reason for layer in report.layers if layer.reason}
    assert "residual stream" in kept["network.blocks.0.attn.proj"]
    assert kept["network.head"] == "output: the logit"


@pytest.mark.parametrize("genome", [RESNET, VIT])
@pytest.mark.parametrize("int8", [False, True])
def test_the_exported_file_agrees_at_any_batch(genome: dict[str, object], int8: bool, tmp_path: Path) -> None:
    model = student(**genome)
    if int8:
        report = quantise(model, pictures(2), QuantiseSettings(), batches=[pictures(4)])
        assert any(layer.quantised for layer in report.layers)
        freeze(model)
    artefact = export_onnx(model, SIGNATURE, pictures(2), tmp_path / "m.onnx")
    parity = check_parity(model, artefact.path, [pictures(5)])
    assert parity.samples == 5


def test_a_teacher_begins_from_a_file_of_weights(tmp_path: Path) -> None:
    donor = FAMILY.teacher(SETTINGS, seed=5)
    torch.save(donor.get_submodule("network").state_dict(), tmp_path / "w.pth")
    settings = ClassifierSettings(size=64, teacher=ClassifierTeacher(weights=str(tmp_path / "w.pth")))
    begun = FAMILY.teacher(settings, seed=1).get_submodule("network").state_dict()
    assert all(torch.equal(value, begun[name]) for name, value in donor.get_submodule("network").state_dict().items())


@pytest.mark.parametrize("genome", [RESNET, VIT, {"network": "torchvision:mobilenet_v3_small"}, {"network": "timm:regnety_002"}])
def test_a_student_of_classes_keeps_a_score_for_each(genome: dict[str, object], tmp_path: Path) -> None:
    signature = FAMILY.signature(ClassifierSettings(size=64, classes=("real", "swap", "lips")))
    space = FAMILY.space("default")
    model = FAMILY.student(space.repair({**space.default(), "input_size": 48, **genome}), signature).eval()
    report = prune(model, pictures(2), PruneSettings(ratio=0.3), FAMILY.pruning_rules(model))
    assert report.after.parameters < report.before.parameters
    wanted = model.eval()(*pictures(2)).logit
    assert wanted.shape == (2, 3)
    save_model(model, tmp_path / "m")
    torch.testing.assert_close(load_model(tmp_path / "m")(*pictures(2)).logit, wanted)


def test_a_teacher_of_any_library_has_a_score_for_each_class_and_its_file_too(tmp_path: Path) -> None:
    settings = ClassifierSettings(
        size=64, classes=("a", "b", "c", "d"), teacher=ClassifierTeacher(network="torchvision:resnet18", multiplier=1.0)
    )
    FAMILY.check(FAMILY.space("default").override({"network": ["resnet18"], "input_size": [48]}), settings)
    model = FAMILY.teacher(settings).eval()
    artefact = export_onnx(model, FAMILY.signature(settings), pictures(2), tmp_path / "m.onnx")
    parity = check_parity(model, artefact.path, [pictures(5)])
    assert (parity.samples, parity.decision_agreement) == (5, 1.0)
    assert FAMILY.teacher(ClassifierSettings(size=64, teacher=settings.teacher))(*pictures(2)).logit.shape == (2, 1)
