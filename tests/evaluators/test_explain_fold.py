from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import paretolens.models.pinpoint  # noqa: F401  # registers the builder
from paretolens.evaluators.explain import foldable_pairs, held_still, norms_folded
from paretolens.models.registry import build


def net(make_first: Callable[[], nn.Module] = lambda: nn.Conv2d(3, 8, 3, bias=False)) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        make_first(), nn.BatchNorm2d(8), nn.Hardswish(), nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8))
    )
    with torch.no_grad():
        for _ in range(5):
            model(3 * torch.randn(4, 3, 12, 12) + 1)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-2, 2)
                module.bias.normal_()
    return model


class Pooled(nn.Module):
    """One logit per sample."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.model(x).mean((1, 2, 3))
        return found


def test_same_logits_and_gradients_and_put_back() -> None:
    model, x = net(), torch.randn(4, 3, 12, 12, requires_grad=True)
    before, names = list(model.modules()), list(model.state_dict())
    with held_still(model):
        expected = model(x)
        (slope,) = torch.autograd.grad(expected.square().sum(), x)
        with norms_folded(Pooled(model), (torch.randn(2, 3, 12, 12),)):
            assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
            found = model(x)
            (folded_slope,) = torch.autograd.grad(found.square().sum(), x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(folded_slope, slope, atol=1e-4, rtol=1e-4)
    assert [id(module) for module in model.modules()] == [id(module) for module in before]
    assert list(model.state_dict()) == names


def test_put_back_after_an_error() -> None:
    model = net().eval()
    before = [id(module) for module in model.modules()]
    with pytest.raises(ValueError, match="stop"), norms_folded(Pooled(model), (torch.randn(2, 3, 12, 12),)):
        raise ValueError("stop")
    assert [id(module) for module in model.modules()] == before


def test_norms_in_training_mode_are_left_alone() -> None:
    model = net().train()
    with norms_folded(Pooled(model), (torch.randn(2, 3, 12, 12),)):
        assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 2


class Block(nn.Module):
    """Layers as attributes; `side` also reads what the convolution gave, `tied` its weight."""

    def __init__(self, *, side: bool = False, tied: bool = False, backwards: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.side, self.tied, self.backwards = side, tied, backwards
        if backwards:
            self.bn = nn.BatchNorm2d(8)
            self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        else:
            self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
            self.bn = nn.BatchNorm2d(8)
        self.bn.running_mean.normal_()  # type: ignore[union-attr]  # a buffer
        self.bn.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]  # a buffer

    def forward(self, x: Tensor) -> Tensor:
        if self.backwards:
            return self.conv(self.bn(x.repeat(1, 3, 1, 1)[:, :8])).relu().mean((1, 2, 3))
        y = self.conv(x)
        z = self.bn(y)
        found = z.relu().mean((1, 2, 3))
        if self.side:
            found = found + y.square().mean((1, 2, 3))
        return found + self.conv.weight.sum() if self.tied else found


@pytest.mark.parametrize(
    ("model", "pairs"),
    [(Block(), 1), (Block(side=True), 0), (Block(backwards=True), 0), (Block(tied=True), 1)],
)
def test_what_follows_what_is_seen_in_a_run(model: nn.Module, pairs: int) -> None:
    x = torch.randn(2, 3, 12, 12)
    with held_still(model):
        expected = model(x)
        assert len(foldable_pairs(model, (x,))[0]) == pairs
        with norms_folded(model, (x,)):
            folded = isinstance(model.get_submodule("bn"), nn.Identity)
            torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-5)
    assert folded is (pairs == 1 and not getattr(model, "tied", False))
    assert isinstance(model.get_submodule("bn"), nn.BatchNorm2d)


@pytest.mark.parametrize(("backbone", "norms"), [("resnet18", 20), ("mobilenet_v3_small", 34), ("shufflenet_v2_x0_5", 56)])
def test_every_norm_of_our_backbones_is_folded(backbone: str, norms: int) -> None:
    torch.manual_seed(0)
    model = build("pinpoint", backbone=backbone, input_frames=2, input_size=32, audio_frames=8, width=16, depth=1, heads=2).eval()
    inputs = (
        torch.randn(2, 2, 3, 32, 32),
        torch.randn(2, 8, 13),
        torch.zeros(2, 2, dtype=torch.bool),
        torch.zeros(2, 8, dtype=torch.bool),
    )
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == norms
    with held_still(model), norms_folded(model, inputs):
        assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_what_is_not_plain_is_not_folded() -> None:
    class Fancy(nn.Conv2d):
        pass

    def pairs(model: nn.Module) -> int:
        with held_still(model):
            return len(foldable_pairs(Pooled(model), (torch.randn(2, 3, 12, 12),))[0])

    assert pairs(net()) == 2
    assert pairs(net(lambda: Fancy(3, 8, 3))) == 1
    listened = net()
    listened[1].register_forward_hook(lambda *_: None)
    assert pairs(listened) == 1
    shared = nn.Conv2d(3, 3, 1)
    twice = nn.Sequential(nn.Sequential(shared, nn.BatchNorm2d(3)), nn.Sequential(shared, nn.BatchNorm2d(3)))
    assert pairs(twice) == 0
