from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from paretolens.errors import ConfigurationError
from paretolens.exporters.onnx import export_onnx
from paretolens.exporters.parity import check_parity
from paretolens.exporters.runner import OnnxRunner
from paretolens.models.aware import Cascade, CascadeLesson, CascadeVerdict
from paretolens.models.record import load_model, save_model
from paretolens.models.registry import build, build_seeded
from paretolens.models.signature import InputKind, InputSpec, Signature
from paretolens.models.trees import Trees

SIGNATURE = Signature(inputs=(InputSpec(name="image", shape=(3, 32, 32), kind=InputKind.IMAGE),), outputs=CascadeVerdict._fields)
SMALL = {"cnn": "resnet18", "multiplier": 0.125, "convnext": "mote", "autoencoder": 0.25, "embed": 8, "hidden": 8, "align": 4}


def cascade(trees: int = 0) -> Cascade:
    first = {"network": "mobilenet_v3_small", "multiplier": 0.25, "input_size": 32}
    model = build_seeded("aware-cascade", 0, first=first, second={**SMALL, "input_size": 32})
    assert isinstance(model, Cascade)
    if trees:
        grown = Trees(count=trees, depth=3)
        grown.feature.random_(0, 8)
        grown.threshold.normal_()
        grown.value.normal_()
        model.second.trees = grown
    return model.eval()


def split_in_half(model: Cascade, images: Tensor) -> None:
    """Let the first stage leave the middle half of the pictures open."""
    with torch.no_grad():
        logits = model.first(images).logit
    model.low, model.high = float(logits.quantile(0.25)), float(logits.quantile(0.75))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return 2 * torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_published_expert_has_the_parameters_of_its_parts() -> None:
    expert = build("aware-expert")
    count = sum(p.numel() for p in expert.parameters())
    cnn, convit = 12_822_943 - 1_537, 30_157_753 - 1_002  # without their last layers
    assert count == cnn + convit + (1_536 + 1) * 256 + (500 + 1) * 256 + 512 + 1


def test_each_picture_gets_the_logit_of_the_stage_that_decides_it(images: Tensor) -> None:
    model = cascade()
    split_in_half(model, images)
    with torch.no_grad():
        out, (first, second) = model(images), [stage(images).logit for stage in model.stages()]
    left = (first > model.low) & (first < model.high)
    assert 0 < int(left.sum()) < len(images)
    torch.testing.assert_close(out.logit, torch.where(left, second, first))
    assert out.stage.tolist() == (1.0 + left.float()).tolist()


def test_the_first_stage_calls_fake_what_it_holds_for_fake(images: Tensor) -> None:
    """P(fake) above the threshold means fake: the published code had it the other way round."""
    model = cascade()
    model.low, model.high = -0.1, 0.1
    with torch.no_grad():
        first = model.first(images).logit[:, 0]
        out = model(images)
    sure = first.abs() >= 0.1
    assert ((out.logit[:, 0] > 0) == (first > 0))[sure].all()


def test_in_training_every_stage_sees_every_picture(images: Tensor) -> None:
    model = cascade().train()
    out = model(images)
    assert isinstance(out, CascadeLesson)
    assert out.stages.shape == (16, 2)
    out.stages.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_file_runs_the_second_stage_on_the_open_rows_only(images: Tensor, tmp_path: Path) -> None:
    model = cascade(trees=6)
    model.scales.copy_(torch.tensor([0.8, 1.3]))
    split_in_half(model, images)
    artefact = export_onnx(model, SIGNATURE, (images[:2],), tmp_path / "model.onnx")
    check_parity(model, artefact.path, [(images,), (images[:3],)])
    runner = OnnxRunner(artefact.path)
    with torch.no_grad():
        wanted = model(images)
    for rows in (wanted.stage[:, 0] == 1, wanted.stage[:, 0] == 2):  # nothing is open, everything is
        found = runner.run({"image": images[rows].numpy()})
        np.testing.assert_allclose(found["logit"], wanted.logit[rows], atol=1e-4)
        np.testing.assert_array_equal(found["stage"], wanted.stage[rows])
    graph = onnx.load(artefact.path).graph
    (branch,) = [node for node in graph.node if node.op_type == "If"]
    bodies = {attribute.name: {node.op_type for node in attribute.g.node} for attribute in branch.attribute}
    assert "ConvTranspose" in bodies["then_branch"]
    assert bodies["else_branch"] == {"Identity"}
    assert "ConvTranspose" not in {node.op_type for node in graph.node}


def test_it_is_saved_and_rebuilt_with_its_trees_thresholds_and_temperatures(images: Tensor, tmp_path: Path) -> None:
    model = cascade(trees=4)
    model.scales.copy_(torch.tensor([0.5, 2.0]))
    split_in_half(model, images)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    with torch.no_grad():
        for found, wanted in zip(again(images), model(images), strict=True):
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"second": {**SMALL, "input_size": 40}}, "a multiple of 32; got 40"),
        ({"second": {**SMALL, "input_size": 32, "cnn": "torchvision:resnet18"}}, "or timm:NAME with multiplier 1"),
    ],
)
def test_impossible_cascades_are_refused(changes: dict[str, object], words: str) -> None:
    first = {"network": "mobilenet_v3_small", "multiplier": 0.25, "input_size": 32}
    with pytest.raises(ConfigurationError, match=words):
        build("aware-cascade", **{"first": first, "second": {**SMALL, "input_size": 32}, **changes})


def test_until_it_is_trusted_stage_1_decides_nothing(images: Tensor) -> None:
    model = cascade()
    with torch.no_grad():
        assert set(model(images).stage.reshape(-1).tolist()) == {2.0}
        model.trust(fake=0.5, real=0.5)
        assert set(model(images).stage.reshape(-1).tolist()) == {1.0}
    with pytest.raises(ConfigurationError, match=r"trust_real at most at trust_fake; got 0\.6 and 0\.3"):
        model.trust(fake=0.3, real=0.6)
