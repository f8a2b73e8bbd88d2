import pytest
import torch
from torch import nn
from torchvision.models import efficientnet_b0

from paretolens.errors import ConfigurationError
from paretolens.models.cross_efficient_vit import CrossAttend
from paretolens.models.registry import build
from paretolens.models.trunk import Trunk, grid_of

SMALL = {
    "input_size": 64, "backbone_width": 0.25, "shared": True, "small_stage": 4, "small_patch": 2, "large_patch": 4,
    "small_width": 16, "large_width": 24, "small_layers": 1, "large_layers": 1, "depth": 2, "heads": 2, "head_dim": 8,
    "hidden": 32, "crossings": 1, "dropout": 0.0,
}  # fmt: skip


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def counted(name: str, **arguments: object) -> int:
    with torch.device("meta"):
        return count(build(name, **arguments))


def pictures(batch: int = 2, side: int = 64) -> torch.Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_parameters_are_those_published():
    assert counted("cross-efficient-vit", whole=True) == 101_377_610
    assert counted("cross-efficient-vit", whole=True, small_patch=1, large_patch=8) == 71_001_674
    assert counted("efficient-vit", whole=True) == 109_447_781


def test_what_never_runs_is_not_built_unless_asked_for():
    never = 1281 * 1000 * 2 + 196_416 + 5_760  # both classifiers, positions beyond the tokens ...
    late = count(nn.ModuleList(efficientnet_b0().features[3:]))  # ... and the large branch's later stages
    assert counted("cross-efficient-vit") == 101_377_610 - never - late
    assert counted("efficient-vit") == 109_447_781 - 1281 * 1000 - 30 * 1024


def test_what_never_runs_changes_no_answer():
    torch.manual_seed(0)
    whole = build("cross-efficient-vit", **{**SMALL, "shared": False, "whole": True}).eval()
    bare = build("cross-efficient-vit", **{**SMALL, "shared": False}).eval()
    state = {name: value for name, value in whole.state_dict().items() if ".idle." not in name}
    for name in ("small_tokens.positions", "large_tokens.positions"):
        state[name] = state[name][:, : bare.state_dict()[name].shape[1]]
    bare.load_state_dict(state)
    torch.testing.assert_close(bare(pictures()).logit, whole(pictures()).logit)


def test_the_maps_are_those_of_efficientnet():
    network = efficientnet_b0().eval()
    trunk = Trunk(width=1.0, ends=(2, 8)).eval()
    for index, stage in enumerate(network.features):
        trunk.stages[index].load_state_dict(stage.state_dict())
    x = pictures(1, 96)
    with torch.no_grad():
        large, small = trunk(x)
        torch.testing.assert_close(small, network.features(x), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(large, network.features[:3](x), atol=1e-4, rtol=1e-4)
    assert (large.shape[1:], small.shape[1:]) == ((24, 24, 24), (1280, 3, 3))
    assert (grid_of(224, 2), grid_of(224, 8)) == (56, 7)
    assert (grid_of(100, 2), grid_of(100, 8)) == tuple(map_.shape[-1] for map_ in trunk(pictures(1, 100)))


@pytest.mark.parametrize("change", [{}, {"shared": False}, {"small_width": 24}, {"small_patch": 1, "large_patch": 16}])
def test_outputs(change):
    model = build("cross-efficient-vit", **{**SMALL, **change}).eval()
    out = model(pictures(3))
    assert out._fields == ("logit",)
    assert out.logit.shape == (3, 1)
    assert torch.isfinite(out.logit).all()


def test_a_class_token_reads_itself_and_the_others_patches():
    torch.manual_seed(0)
    cross = CrossAttend(width=6, other=6, heads=2, head_dim=5, dropout=0.0).eval()
    first, patches = torch.randn(2, 1, 6), torch.randn(2, 7, 6)
    asked = nn.functional.layer_norm(first, (6,))
    memory = torch.cat((asked, patches), dim=1)
    q, k, v = (
        layer(x).unflatten(-1, (2, 5)).transpose(1, 2)
        for layer, x in zip((cross.attend.q, cross.attend.k, cross.attend.v), (asked, memory, memory), strict=True)
    )
    mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(cross(first, patches), cross.attend.proj(mixed))


def test_each_branch_hears_of_the_other():
    model = build("cross-efficient-vit", **{**SMALL, "shared": False}).eval()
    x = pictures()
    small, large = model.small_tokens(model.small_trunk(x)[0]), model.large_tokens(model.large_trunk(x)[0])
    one, other = model.scales[0](small, large)
    changed = torch.cat((large[:, :1], -large[:, 1:]), dim=1)
    one_changed, _ = model.scales[0](small, changed)
    _, other_changed = model.scales[0](torch.cat((small[:, :1], -small[:, 1:]), dim=1), large)
    assert (one_changed[:, 0] - one[:, 0]).abs().max() > 1e-4
    assert (other_changed[:, 0] - other[:, 0]).abs().max() > 1e-4
    torch.testing.assert_close(one_changed[:, 1:], one[:, 1:])


def test_every_parameter_learns():
    torch.manual_seed(0)
    for name, arguments in (
        ("cross-efficient-vit", SMALL),
        ("efficient-vit", {"input_size": 64, "backbone_width": 0.25, "patch": 1, "width": 16, "depth": 1, "hidden": 32}),
    ):
        model = build(name, **arguments).train()
        model(pictures(4)).logit.square().sum().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_picture_is_judged_alike_in_every_batch():
    for name in ("cross-efficient-vit", "efficient-vit"):
        arguments = SMALL if name == "cross-efficient-vit" else {"input_size": 64, "patch": 2, "width": 16, "depth": 1}
        model = build(name, **arguments).eval()
        with torch.no_grad():
            torch.testing.assert_close(model(pictures(3)).logit[2:], model(pictures(3)[2:]).logit, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cross-efficient-vit", {"large_patch": 3}, "a patch must divide the feature map's 16 × 16 places; got 3: take one of 1"),
        ("cross-efficient-vit", {"small_stage": 2}, "large_stage must come before small_stage, up to 8; got 2 and 2"),
        ("cross-efficient-vit", {"small_stage": 9}, "up to 8; got 2 and 9"),
        ("cross-efficient-vit", {"depth": 0}, "depth must be at least 1; got 0"),
        ("cross-efficient-vit", {"dropout": 1.0}, "dropout must be at least 0 and below 1; got 1"),
        ("cross-efficient-vit", {"backbone_width": 0.3}, "backbone_width of efficientnet_b0 must be one of"),
        ("efficient-vit", {"patch": 3}, "a patch must divide"),
        ("efficient-vit", {"width": 0}, "width, depth, heads, head_dim and hidden must be at least 1"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(name, change, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        build(name, **{**(SMALL if name == "cross-efficient-vit" else {}), **change})
    assert "\n" not in str(caught.value)
