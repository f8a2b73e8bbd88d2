import itertools

import pytest
import torch

from paretolens.spaces.pinpoint import PinpointFamily
from paretolens.trainers.cost import cost_of
from paretolens.trainers.losses import hard_loss
from paretolens.trainers.prune import Importance, PruneSettings, prune
from paretolens.trainers.prune_steps import prune_in_steps, step_shares


@pytest.mark.parametrize(("ratio", "steps"), [(0.5, 1), (0.5, 3), (0.0, 2), (0.9, 4)])
def test_shares_of_what_is_left_come_to_the_ratio_in_even_parts(ratio: float, steps: int) -> None:
    left = [1.0]
    for share in step_shares(ratio, steps):
        left.append(left[-1] * (1 - share))
    assert left[-1] == pytest.approx(1 - ratio)
    assert [before - after for before, after in itertools.pairwise(left)] == [pytest.approx(ratio / steps)] * steps


def test_in_steps_as_much_goes_as_at_once_and_each_step_is_repaired(model_of, train) -> None:
    example = train.batch(slice(0, 2))
    wide = {"backbone": "resnet18", "backbone_width": 0.5, "width": 64, "ffn": 4}
    once, stepped = model_of(**wide), model_of(**wide)
    rules = PinpointFamily().pruning_rules(once)
    whole = prune(once, example, PruneSettings(ratio=0.5), rules)
    seen = []
    settings = PruneSettings(ratio=0.5, steps=2)
    report = prune_in_steps(stepped, example, settings, rules, repair=lambda: seen.append(cost_of(stepped, example).parameters))
    assert len(seen) == 2
    assert whole.before.parameters == report.before.parameters > seen[0] > seen[1] == report.after.parameters
    assert report.after == cost_of(stepped, example)
    assert report.after.parameters == pytest.approx(whole.after.parameters, rel=0.1)
    heads = {layer.path: layer.after for layer in report.layers if layer.kind == "heads"}
    assert heads == {layer.path: layer.after for layer in whole.layers if layer.kind == "heads"}
    assert all((layer.after < layer.before) == (layer.reason == "") for layer in report.layers)


def test_limits_are_shares_of_the_first_width(model_of, train) -> None:
    model, example = model_of(width=64, ffn=4), train.batch(slice(0, 2))
    settings = PruneSettings(ratio=0.75, steps=3, limits={"blocks.0.ffn.*": 0.25, "blocks.0.attend": 0.5})
    report = prune_in_steps(model, example, settings, PinpointFamily().pruning_rules(model), repair=lambda: None)
    found = {layer.path: (layer.before, layer.after) for layer in report.layers}
    assert found["blocks.0.ffn.expand"] == (256, 192)
    assert (found["blocks.0.attend"], found["blocks.0.cross"]) == ((4, 2), (4, 1))


def test_what_matters_is_asked_again_in_every_step(model_of, train) -> None:
    model, example = model_of(width=64), train.batch(slice(0, 2))
    asked = []

    def loss(model: torch.nn.Module) -> torch.Tensor:
        asked.append(sum(p.numel() for p in model.parameters()))
        return hard_loss(model(*example).logit, train.targets(torch.arange(2)))

    settings = PruneSettings(ratio=0.5, steps=3, importance=Importance.TAYLOR)
    prune_in_steps(model, example, settings, PinpointFamily().pruning_rules(model), repair=lambda: None, loss=loss)
    assert len(asked) == 3
    assert asked == sorted(asked, reverse=True)
