"""Convolutional backbones by name and width: frames (N, 3, H, W) → features (N, channels), without any pretrained weights.

Every backbone has a list of width multipliers it can be built with; `backbone_widths` tells them. All batch norms get a
momentum of .1 (torchvision's mobilenet_v3 has .01, with which short trainings evaluate at chance). Stochastic depth is off.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.naming import did_you_mean

__all__ = ["Backbone", "backbone_names", "backbone_widths", "laid_out", "make_backbone"]

BN_MOMENTUM = 0.1


class Backbone(nn.Module):
    """Named stages, then the mean over the positions. On a CPU the frames run channels-last, about twice as fast."""

    def __init__(self, stages: "OrderedDict[str, nn.Module]", *, freeze_through: str | None = None) -> None:
        super().__init__()
        self.stages = nn.Sequential(stages)
        self.frozen = _frozen_stages(tuple(stages), freeze_through)
        for stage in self.frozen:
            self.stages.get_submodule(stage).requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = BN_MOMENTUM

    def forward(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) float → (N, channels)."""
        return self.feature_map(frames).mean((2, 3))

    def feature_map(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) float → (N, channels, h, w)."""
        features: Tensor = self.stages(laid_out(frames))
        return features

    def train(self, mode: bool = True) -> "Backbone":
        """Switch the mode; frozen stages keep their batch-norm statistics."""
        super().train(mode)
        for stage in self.frozen:
            self.stages.get_submodule(stage).eval()
        return self


def laid_out(frames: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) in the memory layout in which their device convolves fastest."""
    if frames.device.type == "cpu" and not torch.onnx.is_in_onnx_export():
        return frames.contiguous(memory_format=torch.channels_last)
    return frames


def backbone_names() -> tuple[str, ...]:
    """Every backbone that can be built, sorted."""
    return tuple(sorted(_BACKBONES))


def backbone_widths(name: str) -> tuple[float, ...]:
    """The width multipliers a backbone can be built with, ascending.

    Raises:
        ConfigurationError: the backbone is not known; the nearest name and all names are given.
    """
    if name not in _BACKBONES:
        raise ConfigurationError(f"backbone {name!r} is not known{did_you_mean(name, backbone_names())}")
    return _BACKBONES[name][1]


def make_backbone(name: str, width: float = 1.0, *, freeze_through: str | None = None) -> tuple[Backbone, int]:
    """Build a backbone, and tell its number of output channels.

    Args:
        name: one of `backbone_names()`.
        width: one of `backbone_widths(name)`.
        freeze_through: the last stage (from the input on) whose weights and statistics are not trained; None trains all.

    Raises:
        ConfigurationError: unknown name, a width which that backbone has not, or an unknown stage.
    """
    widths = backbone_widths(name)
    if width not in widths:
        allowed = ", ".join(f"{value:g}" for value in widths)
        raise ConfigurationError(f"backbone_width of {name} must be one of {allowed}; got {width:g}")
    stages, channels = _BACKBONES[name][0](width)
    return Backbone(stages, freeze_through=freeze_through), channels


def _frozen_stages(stages: tuple[str, ...], last: str | None) -> tuple[str, ...]:
    if last is None:
        return ()
    if last not in stages:
        raise ConfigurationError(f"freeze_through {last!r} is no stage of this backbone{did_you_mean(last, stages)}")
    return stages[: stages.index(last) + 1]


Stages = tuple["OrderedDict[str, nn.Module]", int]


def _numbered(layers: nn.Sequential) -> "OrderedDict[str, nn.Module]":
    return OrderedDict((f"stage{index}", layer) for index, layer in enumerate(layers))


class BasicBlock(nn.Module):
    """The residual block of ResNet18 (He et al. 2016, fig. 5 left), with torchvision's layout."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, H / stride, W / stride)."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(y + self.downsample(x))
        return out


def _resnet18(width: float) -> Stages:
    base = round(64 * width)
    planes = (base, 2 * base, 4 * base, 8 * base)
    stem = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, base, 7, 2, 3, bias=False), bn=nn.BatchNorm2d(base), relu=nn.ReLU(), pool=nn.MaxPool2d(3, 2, 1)
        )
    )
    stages: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
    inputs = base
    for index, outputs in enumerate(planes):
        stride = 1 if index == 0 else 2
        stages[f"layer{index + 1}"] = nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1))
        inputs = outputs
    for stage in stages.values():
        for module in stage.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return stages, planes[-1]


def _mobilenet_v3_small(width: float) -> Stages:
    from torchvision.models.mobilenetv3 import MobileNetV3, _mobilenet_v3_conf

    blocks, last = _mobilenet_v3_conf("mobilenet_v3_small", width_mult=width)
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=BN_MOMENTUM)
    features = MobileNetV3(blocks, last, norm_layer=norm).features
    return _numbered(features), features[-1][0].out_channels


def _efficientnet_b0(width: float) -> Stages:
    from torchvision.models.efficientnet import EfficientNet, _efficientnet_conf

    blocks, last = _efficientnet_conf("efficientnet_b0", width_mult=width, depth_mult=1.0)
    features = EfficientNet(blocks, dropout=0.0, stochastic_depth_prob=0.0, last_channel=last).features
    return _numbered(features), features[-1][0].out_channels


def _regnet_y_400mf(width: float) -> Stages:
    from torchvision.models.regnet import BlockParams, RegNet

    w_0 = round(48 * width)  # scaling w_0 and w_a alike keeps the depths of the published network
    params = BlockParams.from_init_params(depth=16, w_0=w_0, w_a=27.89 * width, w_m=2.09, group_width=8, se_ratio=0.25)
    model = RegNet(params, num_classes=1, stem_width=max(8, round(32 * width)))
    stages = OrderedDict([("stem", model.stem), *model.trunk_output.named_children()])
    return stages, model.fc.in_features


def _shufflenet_v2_x0_5(width: float) -> Stages:
    from torchvision.models.shufflenetv2 import ShuffleNetV2

    planes = [2 * round(channels * width / 2) for channels in (24, 48, 96, 192, 1024)]
    model = ShuffleNetV2([4, 8, 4], planes, num_classes=1)
    names = ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5")
    return OrderedDict((name, model.get_submodule(name)) for name in names), planes[-1]


def _mobilenetv4_conv_small(width: float) -> Stages:
    import timm

    suffix = {0.35: "_035", 0.5: "_050", 1.0: ""}[width]
    model = timm.create_model(f"mobilenetv4_conv_small{suffix}", pretrained=False)
    stem = nn.Sequential(OrderedDict(conv=model.conv_stem, bn=model.bn1))
    stages = OrderedDict([("stem", stem), *_numbered(model.blocks).items()])
    return stages, int(model.num_features)


def _efficientnet_lite0(width: float) -> Stages:
    from timm.models.efficientnet import _gen_efficientnet_lite

    model = _gen_efficientnet_lite("efficientnet_lite0", channel_multiplier=width, depth_multiplier=1.0)
    channels = max(8, round(1280 * width / 8) * 8)  # timm keeps 1280 for every width, most of a narrow network's weights
    if channels != model.num_features:
        model.conv_head = nn.Conv2d(model.conv_head.in_channels, channels, 1, bias=False)
        model.bn2 = type(model.bn2)(channels, act_layer=nn.ReLU6)
    stem = nn.Sequential(OrderedDict(conv=model.conv_stem, bn=model.bn1))
    head = nn.Sequential(OrderedDict(conv=model.conv_head, bn=model.bn2))
    return OrderedDict([("stem", stem), *_numbered(model.blocks).items(), ("head", head)]), channels


_BACKBONES: dict[str, tuple[Callable[[float], Stages], tuple[float, ...]]] = {
    "efficientnet_lite0": (_efficientnet_lite0, (0.25, 0.35, 0.5, 0.75, 1.0)),
    "efficientnet_b0": (_efficientnet_b0, (0.25, 0.35, 0.5, 0.75, 1.0)),
    "mobilenet_v3_small": (_mobilenet_v3_small, (0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)),
    "mobilenetv4_conv_small": (_mobilenetv4_conv_small, (0.35, 0.5, 1.0)),
    "regnet_y_400mf": (_regnet_y_400mf, (0.5, 1.0, 1.5, 2.0)),
    "resnet18": (_resnet18, (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.5, 2.0)),
    "shufflenet_v2_x0_5": (_shufflenet_v2_x0_5, (0.5, 0.75, 1.0, 1.5, 2.0)),
}
