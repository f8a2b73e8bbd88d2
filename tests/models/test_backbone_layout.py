"""Files of torchvision and timm fill our backbones, which then see what the library's networks see."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.backbone_layout import from_library, without_head
from paretolens.models.backbones import backbone_names, make_backbone
from paretolens.models.weights import load_weights

TIMM = ("efficientnet_lite0", "mobilenetv4_conv_small")


def library_network(name: str) -> nn.Module:
    torch.manual_seed(2)
    built: Any = timm.create_model(name) if name in TIMM else getattr(torchvision.models, name)()
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that are not those of a fresh layer
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    network: nn.Module = built.eval()
    return network


def features_of(network: Any, pictures: Tensor) -> Tensor:
    """What goes into the classifier, or is pooled before it."""
    if hasattr(network, "forward_features"):
        found: Tensor = network.forward_features(pictures).mean((2, 3))
        return found
    seen = []
    last = network.classifier if hasattr(network, "classifier") else network.fc
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(pictures)
    return seen[0]


@pytest.mark.parametrize("name", backbone_names())
def test_a_librarys_file_fills_the_backbone(name: str, tmp_path: Path) -> None:
    network = library_network(name)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    backbone, _ = make_backbone(name)
    assert load_weights(backbone, tmp_path / "w.pth", whole=True, layout=from_library(name)) == ()
    pictures = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.eval()(pictures), features_of(network, pictures), rtol=1e-3, atol=1e-4)


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "w.pth")
    backbone, _ = make_backbone("resnet18")
    with pytest.raises(ConfigurationError, match=r"stages\.layer1\.2\.conv1\.weight is none of the model's"):
        load_weights(backbone, tmp_path / "w.pth", whole=True, layout=from_library("resnet18"))
    with pytest.raises(ConfigurationError, match="'vgg' is none of our backbones"):
        from_library("vgg")


def test_a_classifiers_file_fills_the_same_network_without_one(tmp_path: Path) -> None:
    whole, bare = timm.create_model("mobilenetv4_conv_small_050"), timm.create_model("mobilenetv4_conv_small_050", num_classes=0)
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    load_weights(bare, tmp_path / "w.pth", whole=True, layout=without_head)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in bare.state_dict().items())
