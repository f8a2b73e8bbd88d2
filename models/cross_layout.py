"""The published checkpoints of Cross Efficient ViT: their names and shapes as those of `models.cross_efficient_vit`.

They name the branches sm and lg, number the blocks of both EfficientNets through, keep keys and values in one matrix, and read
patches with a linear layer whose inputs go by row, column, channel. Every one of their tensors has a place here.
"""

import math
import re
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from paretolens.models.cross_efficient_vit import CrossEfficientViT
from paretolens.models.efficientnet_layout import name_in_trunk, require_padding

__all__ = ["from_published"]

MARK = "sm_image_embedder.cls_token"
"""A tensor that every published checkpoint has, and no other."""
_BRANCHES = {"sm": "small", "lg": "large"}
Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*pairs: tuple[str, str]) -> Rules:
    """What a name may begin with, and what stands there instead."""
    return tuple((re.compile(pattern), name) for pattern, name in pairs)


_PLACES = _rules(
    (r"image_embedder\.cls_token", "tokens.first"),
    (r"image_embedder\.pos_embedding", "tokens.positions"),
    (r"image_embedder\.to_patch_embedding\.1\.", "tokens.project."),
    (r"mlp_head\.", "verdict."),
)
_ENCODER = _rules(
    (r"layers\.(\d+)\.0\.norm\.", r"layers.\1.norm1."),
    (r"layers\.(\d+)\.1\.norm\.", r"layers.\1.norm2."),
    (r"layers\.(\d+)\.0\.fn\.to_([qkv])\.", r"layers.\1.attend.\2."),
    (r"layers\.(\d+)\.0\.fn\.to_out\.0\.", r"layers.\1.attend.proj."),
    (r"layers\.(\d+)\.1\.fn\.net\.0\.", r"layers.\1.ffn.expand."),
    (r"layers\.(\d+)\.1\.fn\.net\.3\.", r"layers.\1.ffn.contract."),
    (r"norm\.", "norm."),
)
_CROSSING = _rules(
    (r"fn\.norm\.", "norm."),
    (r"fn\.fn\.to_([qkv])\.", r"attend.\1."),
    (r"fn\.fn\.to_out\.0\.", "attend.proj."),
    (r"(project_(?:in|out))\.", r"\1."),
)
_SCALE = re.compile(r"multi_scale_encoder\.layers\.(\d+)\.(\d)\.(.*)")


def from_published(found: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """Tensors of a published checkpoint by the names that they have in `model`; those of any other file as they are.

    What a model without `whole` does not hold, because it never runs, is left out; a name that the layout does not know stays.

    Args:
        found: tensors of the file.
        model: a `CrossEfficientViT`, which takes these tensors.

    Raises:
        ConfigurationError: the file is a published one, and the model's EfficientNets pad otherwise than those.
    """
    prefix = next((name.removesuffix(MARK) for name in found if name.endswith(MARK)), None)
    if prefix is None or not isinstance(model, CrossEfficientViT) or hasattr(model, "trunk"):
        return found
    require_padding(model.small_trunk, same=True, of="the published Cross Efficient ViT")
    renamed, known = {}, set(model.state_dict())
    for name, value in _parted(found, prefix):
        own = _named(name, model)
        if ".idle." not in own or own in known:
            renamed[own] = _shaped(own, value, model)
    return renamed


def _parted(found: Mapping[str, Tensor], prefix: str) -> Iterator[tuple[str, Tensor]]:
    """All tensors without the prefix, keys and values apart."""
    for name, value in found.items():
        short = name.removeprefix(prefix)
        if short.endswith(".to_kv.weight"):
            keys, values = value.chunk(2)
            yield short.replace(".to_kv.", ".to_k."), keys
            yield short.replace(".to_kv.", ".to_v."), values
        else:
            yield short, value


def _named(name: str, model: CrossEfficientViT) -> str:
    """Our name for a published one; an unknown one as it is."""
    branch, _, rest = name.partition("_")
    if branch in _BRANCHES:
        side = _BRANCHES[branch]
        if rest.startswith(inner := "image_embedder.efficient_net."):
            own = name_in_trunk(rest.removeprefix(inner), model.small_trunk if side == "small" else model.large_trunk)
            return f"{side}_trunk.{own}" if own else name
        own = _replaced(rest, _PLACES)
        return f"{side}_{own}" if own else name
    if match := _SCALE.fullmatch(name):
        own = _in_scale(int(match[2]), match[3])
        return f"scales.{match[1]}.{own}" if own else name
    return name


def _in_scale(part: int, rest: str) -> str:
    """Within a scale: the encoders 0 and 1, and 2, the crossings."""
    if part < 2:
        own = _replaced(rest, _ENCODER)
        return f"{('small', 'large')[part]}.{own}" if own else ""
    match = re.fullmatch(r"layers\.(\d+)\.([01])\.(.*)", rest)
    own = _replaced(match[3], _CROSSING) if match else ""
    return f"{('to_large', 'to_small')[int(match[2])]}.{match[1]}.{own}" if match and own else ""


def _replaced(name: str, rules: Rules) -> str:
    """By the first rule that a name begins with; empty where none does."""
    return next((match.expand(own) + name[match.end() :] for pattern, own in rules if (match := pattern.match(name))), "")


def _shaped(name: str, value: Tensor, model: CrossEfficientViT) -> Tensor:
    """A tensor in the shape that it has here."""
    if name in ("small_tokens.project.weight", "large_tokens.project.weight") and value.ndim == 2:
        layer = model.get_submodule(name.removesuffix(".weight"))
        assert isinstance(layer, nn.Conv2d)
        side = math.isqrt(value.shape[1] // layer.in_channels)
        if side * side * layer.in_channels == value.shape[1]:
            kernels: Tensor = value.unflatten(1, (side, side, layer.in_channels)).permute(0, 3, 1, 2)
            return kernels
    if name in ("small_tokens.positions", "large_tokens.positions") and isinstance(model.small_trunk.idle, nn.Identity):
        return value[:, : model.state_dict()[name].shape[1]]
    return value
