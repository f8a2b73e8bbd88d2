"""Pictures → one logit or a score per class, by any network of timm or torchvision, or by a backbone of ours with a multiplier.

Names: `resnet18` and the other backbones of `models.backbones`; `vit`, a plain ViT of any width, depth and patch; `timm:NAME` and
`torchvision:NAME` for whatever those libraries build. Nothing is downloaded: weights come from a file that is named, if at all
(`models.weights`).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.backbones import BN_MOMENTUM, Backbone, backbone_names, make_backbone
from paretolens.models.registry import register
from paretolens.models.self_attention import adopt_attention
from paretolens.models.shrink import Shrink
from paretolens.models.signature import Verdict
from paretolens.naming import did_you_mean, nearest_hint

__all__ = ["LIBRARIES", "VIT", "BackboneClassifier", "PictureClassifier", "check_network", "picture_classifier"]

VIT = "vit"
LIBRARIES = ("timm", "torchvision")


class PictureClassifier(nn.Module):
    """A picture is sharpened and shrunk, then judged by a network of its own kind."""

    def __init__(self, *, shrink: Shrink, network: nn.Module, outputs: int = 1) -> None:
        super().__init__()
        self.shrink = shrink
        self.network = network
        self.outputs = outputs
        """1 = one logit, else the number of classes."""

    def forward(self, image: Tensor) -> Verdict:
        """Judge (B, 3, H, H) pictures."""
        return Verdict(self.network(_laid_out(self.shrink(image))))


class BackboneClassifier(PictureClassifier):
    """The same with one of our backbones: a linear layer over the mean of its last features."""

    def __init__(self, *, shrink: Shrink, network: Backbone, channels: int, outputs: int = 1) -> None:
        super().__init__(shrink=shrink, network=network, outputs=outputs)
        self.head = nn.Linear(channels, outputs)

    def forward(self, image: Tensor) -> Verdict:
        """Judge (B, 3, H, H) pictures."""
        return Verdict(self.head(self.network(self.shrink(image))))

    def patch_logits(self, image: Tensor) -> dict[str, Tensor]:
        """What the last layer says of every place, (B, h, w): their mean is the logit (Zhou et al. 2016).

        Raises:
            ConfigurationError: there are classes, whose scores are no one logit.
        """
        assert isinstance(self.network, Backbone)
        if self.outputs > 1:
            raise ConfigurationError("patch logits are of models with one logit, this one has classes; explain it otherwise")
        features = self.network.feature_map(self.shrink(image))
        return {"image": self.head(features.permute(0, 2, 3, 1))[..., 0]}


def check_network(name: str) -> None:
    """See that a network of this name can be built, without building it.

    Raises:
        ConfigurationError: it can't; the nearest is named.
    """
    library, _, inner = name.rpartition(":")
    if not library:
        valid = (*backbone_names(), VIT)
        if name not in valid:
            raise ConfigurationError(
                f"network {name!r} is not known{did_you_mean(name, valid)}, or timm:NAME, or torchvision:NAME"
            )
        return
    if library not in LIBRARIES:
        raise ConfigurationError(f"network {name!r}: the library must be one of {', '.join(LIBRARIES)}; got {library!r}")
    offered = _offered(library)
    if inner not in offered:
        raise ConfigurationError(
            f"network {name!r}: {library} {_version(library)} has none of that name{nearest_hint(inner, offered)}"
        )


@register("picture-classifier")
def picture_classifier(
    *,
    network: str = "resnet18",
    multiplier: float = 1.0,
    input_size: int = 128,
    size: int | None = None,
    sharpen: float = 0.0,
    outputs: int = 1,
    arguments: Mapping[str, Any] | None = None,
) -> PictureClassifier:
    """Build a classifier without any pretrained weights.

    Args:
        network: see the module's head.
        multiplier: one of `backbone_widths(network)`; 1 for networks of the libraries, which have none.
        input_size: H, side of the input in pixels.
        size: h ≤ H, side to which the model shrinks it; None = as it is.
        sharpen: ≥ 0, how much fine structure is brought out first; see `Shrink`.
        outputs: 1 = one logit, else the number of classes.
        arguments: more arguments of the library's constructor, plain values (for `vit`: embed_dim, depth, num_heads, patch_size).

    Raises:
        ConfigurationError: any of these is outside of what is allowed, or the library refuses it.
    """
    side = input_size if size is None else size
    shrink = Shrink(input_size=input_size, size=side, sharpen=sharpen)
    check_network(network)
    if network in backbone_names():
        backbone, channels = make_backbone(network, multiplier)
        return BackboneClassifier(shrink=shrink, network=backbone, channels=channels, outputs=outputs)
    if multiplier != 1.0:
        raise ConfigurationError(f"network {network} has no width multiplier; got {multiplier:g}: leave it at 1")
    built = _from_library(network, side, outputs, dict(arguments or {}))
    for module in built.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = BN_MOMENTUM
    return PictureClassifier(shrink=shrink, network=built, outputs=outputs)


def _from_library(name: str, side: int, outputs: int, arguments: dict[str, Any]) -> nn.Module:
    library, _, inner = name.rpartition(":")
    whole = {"num_classes": outputs, **arguments}
    try:
        if name == VIT:
            _check_patches(side, int(arguments.get("patch_size", 16)))
            return _timm("vit_tiny_patch16_224", {"img_size": side, **whole})
        if library == "torchvision":
            import torchvision

            network: nn.Module = torchvision.models.get_model(inner, weights=None, **whole)
            return network
        return _timm(inner, whole if _any_size(inner) else {"img_size": side, **whole})
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        given = f" and {arguments}" if arguments else ""
        raise ConfigurationError(f"network {name} cannot be built for {side} pixels{given}: {reason}") from error


def _timm(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(name, pretrained=False, **{"in_chans": 3, **arguments})
    adopt_attention(network)
    return network


def _any_size(name: str) -> bool:
    """Whether a network of timm takes pictures of any size; others are built for one."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return config is None or not bool(config.fixed_input_size)


def _check_patches(side: int, patch: int) -> None:
    if side % patch:
        raise ConfigurationError(f"patches must cover the picture: {side} pixels are no multiple of {patch}; change one of them")


def _offered(library: str) -> tuple[str, ...]:
    if library == "timm":
        import timm

        return tuple(timm.list_models())
    import torchvision

    return tuple(torchvision.models.list_models(module=torchvision.models))


def _version(library: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(library)


def _laid_out(pictures: Tensor) -> Tensor:
    """Channels last on a CPU, where convolutions then run about twice as fast."""
    if pictures.device.type == "cpu" and not torch.onnx.is_in_onnx_export():
        return pictures.contiguous(memory_format=torch.channels_last)
    return pictures
