"""LaDeDa: a picture is judged patch by patch, each patch a few pixels wide, and the verdict is the mean over all patches.

A ResNet50 whose 3×3 convolutions are 1×1 from some layer on, without padding (bag of local features, Brendel and Bethge, ICLR
2019), so that a cell of the last map has seen 5, 9, 17 or 33 pixels and no more. Module names are those of the published
checkpoints. Its students are in `models.tiny_ladeda`.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.prefilter import PreFilter, PreFilterKind
from paretolens.models.receptive import Field, covering
from paretolens.models.registry import register
from paretolens.naming import did_you_mean

__all__ = ["EXPANSION", "LARGE_FIELDS", "LaDeDa", "PatchDetection", "initialise", "ladeda", "mean_of_top", "pre_filter"]

EXPANSION = 4
STRIDES = (2, 2, 2, 1)
LARGE_FIELDS = (5, 9, 17, 33)
"""Receptive fields by how many of the four layers begin with a 3×3 convolution, from one on."""
FEWEST = 5
"""Patches that a top share holds at least."""


class PatchDetection(NamedTuple):
    """Output of detectors that judge patches."""

    logit: Tensor
    """(B, 1), raw score, positive = fake."""
    patches: Tensor
    """(B, h, w), raw score of every patch; `logit` is their mean, or the mean of the highest."""


class Bottleneck(nn.Module):
    """1×1, 3×3 or 1×1, 1×1 (He et al. 2016, fig. 5 right), no padding; the residual is cropped at the bottom and the right."""

    def __init__(self, inputs: int, planes: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        outputs = planes * EXPANSION
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel, stride, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, 4·planes, h', w')."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + self.downsample(x)[:, :, : y.shape[2], : y.shape[3]])
        return out


class LaDeDa(nn.Module):
    """The whole detector."""

    def __init__(self, *, width: int, depths: tuple[int, ...], large: int, prefilter: PreFilter, stem_momentum: float) -> None:
        super().__init__()
        self.prefilter = prefilter
        self.conv1 = nn.Conv2d(3, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width, momentum=stem_momentum)
        self.relu = nn.ReLU()
        self.patch_field = Field().after(3)
        """What a patch is, of the filtered picture."""
        inputs = width
        for index, (depth, stride) in enumerate(zip(depths, STRIDES, strict=True)):
            planes, kernel = width * 2**index, 3 if index < large else 1
            blocks = [Bottleneck(inputs, planes, kernel=kernel, stride=stride)]
            inputs = planes * EXPANSION
            blocks += [Bottleneck(inputs, planes, kernel=1, stride=1) for _ in range(depth - 1)]
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
            self.patch_field = self.patch_field.after(kernel, stride=stride)
        self.fc = nn.Conv2d(inputs, 1, 1)
        initialise(self)

    def features(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, 32·width, h, w)."""
        x: Tensor = self.relu(self.bn1(self.conv2(self.conv1(self.prefilter(image)))))
        for index in range(len(STRIDES)):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return x

    def forward(self, image: Tensor) -> PatchDetection:
        """Judge pictures (B, 3, H, W), ImageNet-normalised."""
        patches = self.fc(self.features(image))[:, 0]
        return PatchDetection(patches.mean((1, 2))[:, None], patches)

    def rescale(self, slope: float, offset: float) -> None:
        """From now on give slope·z + offset in place of each patch's logit z, and so of the verdict, their mean."""
        assert self.fc.bias is not None
        with torch.no_grad():
            self.fc.weight.mul_(slope)
            self.fc.bias.mul_(slope).add_(offset)

    def patch_logits(self, image: Tensor) -> dict[str, Tensor]:
        """What is said of every place, for heat maps: (B, H / stride, W / stride), each square by the patch nearest to it."""
        return {"image": covering(self(image).patches, self.patch_field, (image.shape[2], image.shape[3]))}


def mean_of_top(patches: Tensor, share: float) -> Tensor:
    """(B, h, w) → (B, 1): mean of the highest max(5, ⌈share·h·w⌉) patches, of all where there are fewer; share 1 = all."""
    flat = patches.flatten(1)
    count = min(flat.shape[1], max(FEWEST, math.ceil(share * flat.shape[1])))
    if count == flat.shape[1]:
        return flat.mean(1, keepdim=True)
    return flat.topk(count, dim=1).values.mean(1, keepdim=True)


def pre_filter(kind: str) -> PreFilter:
    """The filter of this name.

    Raises:
        ConfigurationError: there is none.
    """
    known = tuple(PreFilterKind)
    if kind not in known:
        raise ConfigurationError(f"prefilter {kind!r} is not known{did_you_mean(kind, known)}")
    return PreFilter(PreFilterKind(kind))


def initialise(model: nn.Module) -> None:
    """Convolutions N(0, 2 / (k²·outputs)), as ResNet's authors did."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@register("ladeda")
def ladeda(
    *,
    field: int = 9,
    width: int = 64,
    depths: tuple[int, ...] = (3, 4, 6, 3),
    prefilter: str = "nearest",
    stem_momentum: float = 0.001,
) -> LaDeDa:
    """Build a LaDeDa; the defaults are the published LaDeDa9.

    Args:
        field: pixels of a patch: 5, 9, 17 or 33.
        width: channels of the first layer, ≥ 1; the last has 32 times as many.
        depths: blocks of the four layers, each ≥ 1.
        prefilter: "raw", "diagonal" or "nearest".
        stem_momentum: momentum of the first batch norm, 0 < m ≤ 1; the published .001 needs thousands of steps to settle.

    Raises:
        ConfigurationError: any of these is outside of what is allowed.
    """
    if field not in LARGE_FIELDS:
        raise ConfigurationError(f"field must be one of {', '.join(map(str, LARGE_FIELDS))} pixels; got {field}")
    if width < 1 or len(depths) != len(STRIDES) or min(depths) < 1:
        raise ConfigurationError(f"width must be at least 1 and depths four numbers from 1 on; got {width} and {list(depths)}")
    if not 0 < stem_momentum <= 1:
        raise ConfigurationError(f"stem_momentum must be above 0 and at most 1; got {stem_momentum:g}")
    large = LARGE_FIELDS.index(field) + 1
    return LaDeDa(width=width, depths=tuple(depths), large=large, prefilter=pre_filter(prefilter), stem_momentum=stem_momentum)
