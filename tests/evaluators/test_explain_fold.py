from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paretolens.evaluators.explain import foldable_pairs, held_still, norms_folded


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


def test_same_logits_and_gradients_and_put_back() -> None:
    model, x = net(), torch.randn(4, 3, 12, 12, requires_grad=True)
    before, names = list(model.modules()), list(model.state_dict())
    with held_still(model):
        expected = model(x)
        (slope,) = torch.autograd.grad(expected.square().sum(), x)
        with norms_folded(model):
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
    with pytest.raises(ValueError, match="stop"), norms_folded(model):
        raise ValueError("stop")
    assert [id(module) for module in model.modules()] == before


def test_norms_in_training_mode_are_left_alone() -> None:
    model = net().train()
    with norms_folded(model):
        assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 2


class Odd(nn.Sequential):
    """Not the plain order."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_what_is_not_plain_is_not_folded() -> None:
    class Fancy(nn.Conv2d):
        pass

    assert len(foldable_pairs(net())) == 2
    assert len(foldable_pairs(net(lambda: Fancy(3, 8, 3)))) == 1
    assert foldable_pairs(Odd(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))) == []
    listened = net()
    listened[1].register_forward_hook(lambda *_: None)
    assert len(foldable_pairs(listened)) == 1
    shared = nn.Conv2d(8, 8, 1)
    twice = nn.Sequential(nn.Sequential(shared, nn.BatchNorm2d(8)), nn.Sequential(shared, nn.BatchNorm2d(8)))
    assert foldable_pairs(twice) == []
