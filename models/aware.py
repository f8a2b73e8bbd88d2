"""AWARE-NET: a cascade for pictures. A light network decides what it is sure of; the rest goes on to a heavy one.

Stage 1 is any picture classifier. Stage 2 sees what stage 1 leaves open: features of a convolutional network and of a
GenConViT-ED, aligned to the same width each and joined. Stage 3 reads those joined features: boosted trees, or without trees the
linear layer that they were trained with. Each stage's logit is divided by a temperature; stage 1 calls a picture fake where
P(fake) is at least `trust_fake`, real where it is at most `trust_real`, and goes on in between (the published code had fake and
real the wrong way round).
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.backbones import BN_MOMENTUM, backbone_names, make_backbone
from paretolens.models.classifier import check_network, picture_classifier
from paretolens.models.genconvit import GenConvit
from paretolens.models.registry import register
from paretolens.models.shrink import Shrink
from paretolens.models.signature import Verdict
from paretolens.models.trees import Trees

__all__ = ["Cascade", "CascadeLesson", "CascadeVerdict", "Expert", "Stage", "aware_cascade", "aware_expert"]


NEVER = 1e30
"""A logit that nothing reaches, and that JSON can hold."""


class CascadeVerdict(NamedTuple):
    """Output of a cascade."""

    logit: Tensor
    """(B, 1), raw score of the stage that decides, positive = fake."""
    stage: Tensor
    """(B, 1) float, which network decides: 1 or 2."""


class CascadeLesson(NamedTuple):
    """Output of a cascade in training, where every stage sees every picture."""

    logit: Tensor
    """(B, 1), of stage 2."""
    stage: Tensor
    """(B, 1), 2 everywhere."""
    stages: Tensor
    """(B, 2), the logit of each stage before temperatures and trees."""


class Expert(nn.Module):
    """Stage 2 and 3: the linear layer decides, or `trees` where some have been grown (`trainers.cascade`)."""

    def __init__(self, *, shrink: Shrink, cnn: nn.Module, channels: int, convit: GenConvit, hidden: int, align: int) -> None:
        super().__init__()
        self.shrink = shrink
        self.cnn = cnn
        self.convit = convit
        self.align_cnn = nn.Linear(channels, align)
        self.align_convit = nn.Linear(hidden, align)
        self.head = nn.Linear(2 * align, 1)
        self.trees: nn.Module = nn.Identity()

    def features(self, image: Tensor) -> Tensor:
        """(B, 3, H, H) → (B, 2·align)."""
        x = self.shrink(image)
        return torch.cat([self.align_cnn(self.cnn(x)), self.align_convit(self.convit.features(x))], dim=1)

    def forward(self, image: Tensor) -> CascadeVerdict:
        """Judge (B, 3, H, H) pictures."""
        features = self.features(image)
        logit = self.trees(features) if isinstance(self.trees, Trees) else self.head(features)
        return CascadeVerdict(logit, torch.full_like(logit, 2.0))

    def soft(self, image: Tensor) -> Verdict:
        """By the linear layer: what is trained, and what has gradients to explain."""
        return Verdict(self.head(self.features(image)))


class Stage(nn.Module):
    """One stage of a cascade as a model of its own, its logit divided by its temperature."""

    def __init__(self, network: nn.Module, scale: Tensor, *, soft: bool = False) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.soft = soft

    def forward(self, image: Tensor) -> Verdict:
        """Judge (B, 3, H, H) pictures."""
        found = self.network.soft(image) if self.soft and isinstance(self.network, Expert) else self.network(image)
        return Verdict(found.logit * self.scale)


class Cascade(nn.Module):
    """Stage 1, and the expert for what it is not sure of; it is sure of nothing until `trust` says when it is."""

    scales: Tensor
    """(2,) 1 / temperature of each stage."""

    def __init__(self, *, first: nn.Module, second: Expert) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.low, self.high = 0.0, 0.0
        self.register_buffer("scales", torch.ones(2))
        self.trust(fake=1.0, real=0.0)

    def trust(self, *, fake: float, real: float) -> None:
        """Believe stage 1 from P(fake) ≥ `fake` on, 1 = never, and up to P(fake) ≤ `real`, 0 = never.

        Raises:
            ConfigurationError: they lie outside of 0–1, or cross.
        """
        if not 0 <= real <= fake <= 1:
            raise ConfigurationError(f"thresholds must lie in 0–1, trust_real at most at trust_fake; got {real:g} and {fake:g}")
        self.low, self.high = _logit(real), _logit(fake)

    def stages(self, *, soft: bool = False) -> tuple[Stage, Stage]:
        """Both stages as models of their own; `soft` without the trees, which have no gradient."""
        return Stage(self.first, self.scales[0]), Stage(self.second, self.scales[1], soft=soft)

    def open(self, first: Tensor) -> Tensor:
        """Where stage 1, whose calibrated logits these are, leaves a picture to stage 2; bool."""
        return (first > self.low) & (first < self.high)

    def forward(self, image: Tensor) -> CascadeVerdict | CascadeLesson:
        """Judge (B, 3, H, H) pictures. All stages run here; the exported file runs the second only where it must."""
        if self.training:
            early, late = self.first(image).logit, self.second.soft(image).logit
            return CascadeLesson(late, torch.full_like(late, 2.0), torch.cat([early, late], dim=1))
        first, second = self.first(image).logit * self.scales[0], self.second(image).logit * self.scales[1]
        left = self.open(first)
        return CascadeVerdict(torch.where(left, second, first), 1.0 + left.to(first.dtype))

    def deciders(self, image: Tensor) -> tuple[tuple[Stage, Stage], Tensor]:
        """Models with gradients, and (B,) int64 which of them decides each picture."""
        with torch.no_grad():
            left = self.open(self.stages()[0](image).logit)[:, 0]
        return self.stages(soft=True), left.to(torch.int64)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability)) if 0 < probability < 1 else math.copysign(NEVER, probability - 0.5)


def _pooled(name: str, multiplier: float) -> tuple[nn.Module, int]:
    """A network that ends in (B, channels) features: one of our backbones, or timm:NAME."""
    if name in backbone_names():
        return make_backbone(name, multiplier)
    check_network(name)
    library, _, inner = name.rpartition(":")
    if library != "timm" or multiplier != 1.0:
        raise ConfigurationError(f"cnn {name!r}: give one of {', '.join(backbone_names())}, or timm:NAME with multiplier 1")
    import timm

    built: Any = timm.create_model(inner, pretrained=False, num_classes=0)
    for module in built.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = BN_MOMENTUM
    return built, int(getattr(built, "head_hidden_size", None) or built.num_features)


@register("aware-expert")
def aware_expert(
    *,
    cnn: str = "timm:tf_efficientnetv2_b3",
    multiplier: float = 1.0,
    convnext: str = "tiny",
    autoencoder: float = 1.0,
    embed: int = 1000,
    hidden: int = 500,
    align: int = 256,
    input_size: int = 256,
    size: int | None = None,
    sharpen: float = 0.0,
) -> Expert:
    """Build stage 2 by itself; the defaults are the published sizes.

    Args:
        cnn: one of our backbones, or timm:NAME.
        multiplier: width of one of our backbones; 1 for timm.
        convnext: size of GenConViT's ConvNeXt; see `models.genconvit.CONVNEXTS`.
        autoencoder: width multiplier of its autoencoder.
        embed: outputs of the ConvNeXt.
        hidden: width of GenConViT's features.
        align: width that the features of either network are brought to.
        input_size: H, side of the input in pixels.
        size: side to which it shrinks pictures, a multiple of 32; None = as they are.
        sharpen: how much fine structure is brought out first.

    Raises:
        ConfigurationError: any of these is outside of what is allowed.
    """
    side = input_size if size is None else size
    if side % 32:
        raise ConfigurationError(f"GenConViT halves a picture five times: its side must be a multiple of 32; got {side}")
    network, channels = _pooled(cnn, multiplier)
    return Expert(
        shrink=Shrink(input_size=input_size, size=side, sharpen=sharpen),
        cnn=network,
        channels=channels,
        convit=GenConvit(convnext=convnext, width=autoencoder, embed=embed, hidden=hidden, outputs=0),
        hidden=hidden,
        align=align,
    )


@register("aware-cascade")
def aware_cascade(*, first: Mapping[str, Any], second: Mapping[str, Any]) -> Cascade:
    """Build a cascade; `Cascade.trust` sets its thresholds.

    Args:
        first: arguments of `models.classifier.picture_classifier`.
        second: arguments of `aware_expert`.

    Raises:
        ConfigurationError: a stage cannot be built.
    """
    return Cascade(first=picture_classifier(**first), second=aware_expert(**second))
