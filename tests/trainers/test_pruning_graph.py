import pytest
import torch
from torch import nn
from torchvision.models.shufflenetv2 import InvertedResidual

from paretolens.errors import TrialError
from paretolens.models.classifier import picture_classifier
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
