"""Files with the weights of a whole classifier, as torchvision or timm names them, for one of our backbones at its full width."""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.weights import Layout

__all__ = ["from_library", "without_head"]

_TIMM = (r"conv_stem\.", "stem.conv."), (r"bn1\.", "stem.bn."), (r"blocks\.(\d+)\.", r"stage\1.")
_FEATURES = ((r"features\.(\d+)\.", r"stage\1."),)
_NAMES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "efficientnet_b0": _FEATURES,
    "efficientnet_lite0": (*_TIMM, (r"conv_head\.", "head.conv."), (r"bn2\.", "head.bn.")),
    "mobilenet_v3_small": _FEATURES,
    "mobilenetv4_conv_small": _TIMM,
    "regnet_y_400mf": ((r"trunk_output\.", ""),),
    "resnet18": ((r"conv1\.", "stem.conv."), (r"bn1\.", "stem.bn.")),
    "shufflenet_v2_x0_5": (),
}
"""Backbone → how the beginning of its library's names becomes that of ours; other names stay."""
_HEADS = ("fc.", "classifier.", "head.", "conv_head.", "norm_head.")
"""Beginnings of what comes behind the features."""


def from_library(name: str) -> Layout:
    """The layout of files of a backbone's library.

    Raises:
        ConfigurationError: no such backbone.
    """
    if name not in _NAMES:
        raise ConfigurationError(f"backbone_weights: {name!r} is none of our backbones ({', '.join(sorted(_NAMES))})")
    rules = _NAMES[name]

    def named(found: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        renamed = {theirs: f"stages.{_renamed(theirs, rules)}" for theirs in found}
        own = set(model.state_dict())
        return {new: found[theirs] for theirs, new in renamed.items() if new in own or not theirs.startswith(_HEADS)}

    return named


def without_head(found: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """The layout of a library's file for the same library's network without its classifier."""
    own = set(model.state_dict())
    return {name: value for name, value in found.items() if name in own or not name.startswith(_HEADS)}


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, new in rules:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", new, name)
    return name
