"""Tiny-LaDeDa and its relatives: the patch detectors that LaDeDa teaches, a few hundred to some ten thousand parameters.

The published one has two 3×3 convolutions of 8 channels, sees 5 pixels and moves by 2: 1,297 parameters. Here the width, the
number of 3×3 convolutions, the pixels seen and the stride vary on their own; `layout` says which convolutions make them.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.ladeda import PatchDetection, initialise, mean_of_top, pre_filter
from paretolens.models.prefilter import PreFilter
from paretolens.models.receptive import Field, covering
from paretolens.models.registry import register

__all__ = ["TINY_FIELDS", "TINY_STRIDES", "Layout", "TinyLaDeDa", "layout", "tiny_ladeda"]

TINY_FIELDS = (5, 7, 9)
TINY_STRIDES = (2, 4)
MOST_LAYERS = 3


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a student reaches its receptive field and its stride without a gap between the pixels that it sees."""

    convolutions: tuple[tuple[int, int], ...]
    """(stride, dilation) of each 3×3 convolution."""
    mean: tuple[int, int] = (1, 1)
    """(kernel, stride) of an average over the last features; (1, 1) = none."""

    @property
    def field(self) -> Field:
        """What a cell of the last map sees."""
        field = Field()
        for stride, dilation in self.convolutions:
            field = field.after(3, stride=stride, dilation=dilation)
        return field.after(self.mean[0], stride=self.mean[1])


def layout(layers: int, field: int, stride: int) -> Layout:
    """The layout of so many 3×3 convolutions that see `field` pixels.

    All but the last move by one pixel and the last takes the whole stride, spread out until the field is reached. One alone
    moves by 2 and its features are averaged, for spread out it would leave gaps.

    Raises:
        ConfigurationError: the values are unknown, or so many layers see more than the field.
    """
    if field not in TINY_FIELDS or stride not in TINY_STRIDES or not 1 <= layers <= MOST_LAYERS:
        raise ConfigurationError(
            f"a student has 1 to {MOST_LAYERS} 3×3 layers, sees 5, 7 or 9 pixels and moves by 2 or 4; "
            f"got layers {layers}, field {field}, stride {stride}"
        )
    if field < 2 * layers + 1:
        raise ConfigurationError(f"{layers} 3×3 layers see at least {2 * layers + 1} pixels; got field {field}: raise it")
    if layers == 1:
        return Layout(convolutions=((2, 1),), mean=((field - 1) // 2, stride // 2))
    spread = (field - (2 * layers - 1)) // 2
    return Layout(convolutions=(*(((1, 1),) * (layers - 1)), (stride, spread)))


class Unit(nn.Module):
    """1×1, then 3×3 without padding, each with its batch norm and ReLU."""

    def __init__(self, width: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) → (B, width, h', w')."""
        y = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(self.bn2(self.conv2(y)))
        return out


class TinyLaDeDa(nn.Module):
    """The whole student; module names are those of the published checkpoints."""

    def __init__(self, *, width: int, plan: Layout, prefilter: PreFilter, top_share: float, stem_momentum: float) -> None:
        super().__init__()
        first, *others = plan.convolutions
        self.prefilter = prefilter
        self.conv1 = nn.Conv2d(3, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, first[0], dilation=first[1], bias=False)
        self.bn1 = nn.BatchNorm2d(width, momentum=stem_momentum)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(*(Unit(width, stride=stride, dilation=dilation) for stride, dilation in others))
        self.mean: nn.Module = nn.Identity() if plan.mean == (1, 1) else nn.AvgPool2d(*plan.mean)
        self.fc = nn.Conv2d(width, 1, 1)
        self.patch_field = plan.field
        """What a patch is, of the filtered picture."""
        self.top_share = top_share
        initialise(self)

    @property
    def head_parts(self) -> tuple[str, ...]:
        """Paths of what may be taught alone."""
        return ("fc",)

    @property
    def last_parts(self) -> tuple[str, ...]:
        """Paths of the last block and the head."""
        last = f"layer1.{len(self.layer1) - 1}"
        return (last, "fc") if len(self.layer1) else ("conv2", "bn1", "fc")

    def forward(self, image: Tensor) -> PatchDetection:
        """Judge pictures (B, 3, H, W), ImageNet-normalised."""
        x = self.relu(self.bn1(self.conv2(self.conv1(self.prefilter(image)))))
        patches = self.fc(self.mean(self.layer1(x)))[:, 0]
        return PatchDetection(mean_of_top(patches, self.top_share), patches)

    def patch_logits(self, image: Tensor) -> dict[str, Tensor]:
        """What is said of every place, for heat maps: (B, H / stride, W / stride), each square by the patch nearest to it."""
        return {"image": covering(self(image).patches, self.patch_field, (image.shape[2], image.shape[3]))}


@register("tiny-ladeda")
def tiny_ladeda(
    *,
    width: int = 8,
    layers: int = 2,
    field: int = 5,
    stride: int = 2,
    prefilter: str = "diagonal",
    top_share: float = 1.0,
    stem_momentum: float = 0.1,
) -> TinyLaDeDa:
    """Build a student; the defaults are the published Tiny-LaDeDa, but for the momentum of its first norm (.001).

    Args:
        width: channels of every layer, ≥ 1.
        layers: 3×3 convolutions, 1 to 3.
        field: pixels of a patch: 5, 7 or 9.
        stride: pixels between patches: 2 or 4.
        prefilter: "raw", "diagonal" or "nearest".
        top_share: share of the patches, the highest, whose mean is the verdict, 0 < share ≤ 1; 1 = all.
        stem_momentum: momentum of the first batch norm, 0 < m ≤ 1.

    Raises:
        ConfigurationError: any of these is outside of what is allowed, or they do not fit together.
    """
    if width < 1:
        raise ConfigurationError(f"width must be at least 1; got {width}")
    for name, value in (("top_share", top_share), ("stem_momentum", stem_momentum)):
        if not 0 < value <= 1:
            raise ConfigurationError(f"{name} must be above 0 and at most 1; got {value:g}")
    return TinyLaDeDa(
        width=width,
        plan=layout(layers, field, stride),
        prefilter=pre_filter(prefilter),
        top_share=top_share,
        stem_momentum=stem_momentum,
    )
