"""The first stages of a convolutional backbone, with the feature maps of one or two of them."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.backbones import laid_out, make_backbone
from paretolens.models.same_padding import as_tensorflow

__all__ = ["BACKBONE", "HEAD", "STRIDES", "Trunk", "grid_of"]

BACKBONE = "efficientnet_b0"
CLASSES = 1000
HEAD = 8
"""The last stage: the convolution to 1280 channels before the classes."""
STRIDES = (2, 2, 4, 8, 16, 16, 32, 32, 32)
"""Pixels between neighbouring places of each stage's feature map."""


def grid_of(side: int, stage: int) -> int:
    """Places along a side of a stage's feature map; every halving rounds up."""
    return -(-side // STRIDES[stage])


class Trunk(nn.Module):
    """EfficientNet-B0 (Tan and Le 2019) up to the last stage that is asked for; later ones are not built.

    Args:
        width: width multiplier.
        ends: stages whose maps are returned, ascending; stage 0 is the first convolution, 8 the last.
        whole: build the later stages and the classifier too, which never run: the published networks hold them.
        same_padding: pad and normalise as TensorFlow does, for weights that were trained there.
    """

    def __init__(self, *, width: float, ends: Sequence[int], whole: bool = False, same_padding: bool = False) -> None:
        super().__init__()
        if list(ends) != sorted(set(ends)) or not ends or ends[0] < 0 or ends[-1] > HEAD:
            raise ConfigurationError(f"stages must ascend and lie within 0 to {HEAD}; got {list(ends)}")
        stages = list(make_backbone(BACKBONE, width)[0].stages)
        last = ends[-1] + 1
        self.stages = nn.Sequential(OrderedDict((f"stage{index}", stage) for index, stage in enumerate(stages[:last])))
        self.ends = tuple(ends)
        self.same_padding = same_padding
        self.channels = tuple(_channels(stages[end]) for end in ends)
        """Channels of the maps."""
        self.idle: nn.Module = nn.Identity()
        if whole:
            self.idle = nn.ModuleList([*stages[last:], nn.Linear(_channels(stages[HEAD]), CLASSES)])
        if same_padding:
            as_tensorflow(self)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) → one map (B, channels, h, w) for each of the ends."""
        x, found = laid_out(image), []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.ends:
                found.append(x)
        return tuple(found)


def _channels(stage: nn.Module) -> int:
    if isinstance(own := getattr(stage, "out_channels", None), int):
        return own
    return _channels(list(stage.children())[-1])
