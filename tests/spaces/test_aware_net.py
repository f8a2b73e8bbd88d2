from pathlib import Path

import pytest
import timm
import torch
import torchvision

from paretolens.errors import ConfigurationError
from paretolens.spaces.aware_net import AwareNetFamily, AwareSettings, AwareTeacher

FAMILY = AwareNetFamily()


def test_the_experts_networks_begin_from_their_files(tmp_path: Path) -> None:
    cnn = torchvision.models.resnet18()
    convnext = timm.create_model("convnext_tiny", num_classes=10, depths=(1, 1, 2, 1), dims=(16, 32, 64, 128))
    torch.save(cnn.state_dict(), tmp_path / "cnn.pth")
    torch.save(convnext.state_dict(), tmp_path / "convnext.pth")
    files = {"backbone_weights": str(tmp_path / "cnn.pth"), "convnext_weights": str(tmp_path / "convnext.pth")}
    expert = FAMILY.teacher(AwareSettings(teacher=AwareTeacher(cnn="resnet18", multiplier=1.0, **files)))
    assert torch.equal(expert.get_parameter("cnn.stages.layer1.0.conv1.weight"), cnn.layer1[0].conv1.weight)
    blocks = "stages.2.blocks.0.mlp.fc1.weight"
    assert torch.equal(expert.get_parameter(f"convit.backbone.{blocks}"), convnext.get_parameter(blocks))
    assert expert.get_parameter("convit.backbone.head.fc.weight").shape[0] == 64  # its own: the file has ten classes


def test_a_networks_file_of_a_library_leaves_its_classifier_behind(tmp_path: Path) -> None:
    network = timm.create_model("mobilenetv4_conv_small_050")
    torch.save(network.state_dict(), tmp_path / "w.pth")
    shape = AwareTeacher(cnn="timm:mobilenetv4_conv_small_050", multiplier=1.0, backbone_weights=str(tmp_path / "w.pth"))
    expert = FAMILY.teacher(AwareSettings(teacher=shape))
    assert torch.equal(expert.get_parameter("cnn.conv_stem.weight"), network.conv_stem.weight)
    narrow = AwareTeacher(cnn="resnet18", multiplier=0.5, backbone_weights=str(tmp_path / "w.pth"))
    with pytest.raises(ConfigurationError, match=r"w\.pth: not those of a Backbone of this shape"):
        FAMILY.check(FAMILY.space("default"), AwareSettings(teacher=narrow))
