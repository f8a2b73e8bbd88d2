from typing import cast

import pytest
import torch
from torch import nn
from torchvision.models.shufflenetv2 import InvertedResidual

from paretolens.errors import TrialError
from paretolens.models.classifier import picture_classifier
from paretolens.models.rules import KeptLayer, PruningRules
from paretolens.spaces.image_classifier import ImageClassifierFamily
from paretolens.trainers.prune import PruneSettings, prune
from paretolens.trainers.pruning_graph import dependency_graph


@pytest.mark.parametrize("network", ["shufflenet_v2_x0_5", "torchvision:shufflenet_v2_x0_5", "resnet18"])
def test_networks_of_pictures_alone_can_be_followed(network: str) -> None:
    torch.manual_seed(0)
    model = picture_classifier(network=network, multiplier=0.5 if ":" not in network else 1.0, input_size=32)
    example = (255 * torch.rand(2, 3, 32, 32),)
    report = prune(model, example, PruneSettings(ratio=0.5), ImageClassifierFamily().pruning_rules(model))
    assert report.after.parameters < 0.85 * report.before.parameters
    assert torch.isfinite(model(*example).logit).all()


class Listener(nn.Module):
    """A recurrent layer between two that can be pruned but for it."""

    def __init__(self) -> None:
        super().__init__()
        self.entry, self.wide, self.verdict = nn.Linear(4, 6), nn.Linear(6, 8), nn.Linear(8, 1)
        self.memory = nn.GRU(8, 8, batch_first=True)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.memory(self.wide(self.entry(sound)))[0]
        return cast("torch.Tensor", self.verdict(found[:, -1]))


def test_the_graph_of_a_recurrent_layer_does_not_grow_with_time() -> None:
    model = Listener()
    before = model.memory.forward
    short, long = (len(dependency_graph(model, (torch.zeros(2, steps, 4),)).module2node) for steps in (3, 30))
    assert short == long
    assert model.memory.forward == before
    assert model(torch.zeros(2, 5, 4)).requires_grad


def test_what_feeds_a_recurrent_layer_keeps_its_width_and_the_rest_is_pruned() -> None:
    model = Listener()
    kept = (KeptLayer(path="wide", reason="feeds the memory"), KeptLayer(path="verdict", reason="is the verdict"))
    rules = PruningRules(kept=kept, attentions=())
    report = prune(model, (torch.zeros(2, 30, 4),), PruneSettings(ratio=0.5, round_to=1), rules)
    assert {layer.path: layer.after for layer in report.layers} == {"entry": 3, "wide": 8, "memory": 8, "verdict": 1}
    assert model(torch.zeros(2, 5, 4)).shape == (2, 1)


class Broken(nn.Module):
    """Fails when it is traced."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        raise ValueError("no such shape")


def test_a_model_that_cannot_be_followed_is_an_error_with_a_remedy() -> None:
    with pytest.raises(TrialError, match=r"Broken \(ValueError: no such shape\): leave prune_ratio at 0"):
        dependency_graph(Broken(), (torch.zeros(1, 3, 8, 8),))


class Unknown(InvertedResidual):  # type: ignore[misc]  # torchvision has no types
    """A unit that shuffles, of which the rules know nothing."""


def test_only_networks_whose_shuffled_layers_are_kept_may_have_no_mapping() -> None:
    model = picture_classifier(network="torchvision:shufflenet_v2_x0_5", multiplier=1.0, input_size=32)
    example = (255 * torch.rand(2, 3, 32, 32),)
    dependency_graph(model.eval(), example)
    for unit in model.modules():
        if isinstance(unit, InvertedResidual):
            unit.__class__ = Unknown
    with pytest.raises(TrialError, match=r"cannot follow this \w+ \(ZeroDivisionError: .*\): leave prune_ratio at 0"):
        dependency_graph(model, example)
