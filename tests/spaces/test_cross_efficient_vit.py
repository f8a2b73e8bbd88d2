import random

import pytest
import torch

from paretolens.errors import ConfigurationError
from paretolens.evaluators.explain import make_explainer
from paretolens.spaces.cross_efficient_vit import CrossEfficientViTFamily, CrossSettings, CrossTeacher
from paretolens.trainers.prune import PruneSettings, prune

FAMILY = CrossEfficientViTFamily()


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_published_space_reaches_half_a_percent_of_the_teacher():
    space, signature = FAMILY.space("published"), FAMILY.signature(CrossSettings(size=224))
    with torch.device("meta"):
        default = count(FAMILY.student(space.default(), signature))
        large = {"backbone_width": 1.0, "shared": False, "small_stage": 8, "small_width": 192, "large_width": 384, "depth": 4}
        largest = count(FAMILY.student(space.repair({**space.default(), **large}), signature))
    assert default < 507_000 < largest
    assert default / FAMILY.published["Cross Efficient ViT"].parameters < 0.005


def test_patches_that_do_not_divide_their_map_are_refused_before_a_search():
    space = FAMILY.space("default")
    FAMILY.check(space, CrossSettings())
    message = (
        "knob large_patch: 5 does not divide the 24 × 24 places of stage 2 at 96 pixels; choose among 1, 2, 3, 4, 6, 8, 12, 24"
    )
    with pytest.raises(ConfigurationError, match=message):
        FAMILY.check(space.override({"large_patch": [4, 5]}), CrossSettings())
    with pytest.raises(ConfigurationError, match="knob small_patch: 2 does not divide the 3 × 3 places of stage 6"):
        FAMILY.check(space.override({"small_patch": [1, 2]}), CrossSettings())
    with pytest.raises(ConfigurationError, match="a patch must divide"):
        FAMILY.check(space, CrossSettings(teacher=CrossTeacher(large_patch=7)))


def test_a_multiplier_that_the_backbone_lacks_is_replaced():
    space = FAMILY.space("default").override({"backbone_width": {"low": 0.25, "high": 0.5, "step": 0.05}})
    assert space.repair({**space.default(), "backbone_width": 0.4})["backbone_width"] == 0.35
    with pytest.raises(ConfigurationError, match=r"no choice fits backbone efficientnet_b0; allow one of 0\.25"):
        FAMILY.space("default").override({"backbone_width": 0.3})


def test_students_lose_channels_and_heads_and_still_run():
    space, rng = FAMILY.space("default"), random.Random(1)
    signature = FAMILY.signature(CrossSettings())
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    for shared in (True, False):
        student = FAMILY.student(space.repair({**space.sample(rng), "shared": shared, "heads": 4}), signature)
        before = count(student)
        report = prune(student, (x,), PruneSettings(ratio=0.5), FAMILY.pruning_rules(student))
        assert count(student) < 0.75 * before
        assert {layer.after for layer in report.layers if layer.kind == "heads"} == {2}
        assert torch.isfinite(student(x).logit).all()


@pytest.mark.parametrize(("layer", "places"), [("large_trunk.stages.stage2", 24), ("small_trunk.stages.stage8", 3)])
def test_grad_cam_reads_both_named_maps(layer, places):
    model = FAMILY.teacher(CrossSettings(teacher=CrossTeacher(backbone_width=0.25))).eval()
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    found = make_explainer(f"grad_cam:{layer}")(model, [x], [torch.zeros(1, 3, 96, 96)])
    assert found.values[0].abs().sum() > 0
    seen = {}
    model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: seen.update(map=output))
    model(x)
    assert seen["map"].shape[-2:] == (places, places)


def test_integrated_gradients_account_for_the_logit():
    model = FAMILY.teacher(CrossSettings(teacher=CrossTeacher(backbone_width=0.25)), seed=2).eval()
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    found = make_explainer("integrated_gradients", nodes=32)(model, [x], [torch.zeros(1, 3, 96, 96)])
    change = found.logit - found.baseline_logit
    torch.testing.assert_close(
        found.values[0].double().flatten(1).sum(1), change, atol=0.05 * float(change.abs().max()), rtol=0.1
    )
