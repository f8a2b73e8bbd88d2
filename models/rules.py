"""What structured pruning must know about a model: which layers it may not narrow, and which layers are attention heads."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from paretolens.models.attention import Attention

__all__ = ["KeptLayer", "PruningRules", "StreamRules", "attentions", "shuffled_layers"]


@dataclass(frozen=True, kw_only=True)
class KeptLayer:
    """A layer whose outputs pruning leaves alone; its inputs may still be narrowed."""

    path: str
    """Where it is: `model.get_submodule(path)`."""
    reason: str
    """Why, in words for the report."""


@dataclass(frozen=True, kw_only=True)
class StreamRules:
    """Everything that the width of the residual stream runs through; paths are those of `model.named_modules()`."""

    writers: tuple[str, ...]
    """Linear layers, 1-d convolutions and GRUs whose outputs are added to it, or are it."""
    readers: tuple[str, ...]
    """Linear layers and 1-d convolutions that take it in; some write to it too."""
    norms: tuple[str, ...]
    """Layer norms over it."""
    tables: tuple[str, ...]
    """Parameters and buffers (..., d) that are added to it, such as positions."""


@dataclass(frozen=True, kw_only=True)
class PruningRules:
    """Rules for one model; paths are those of `model.named_modules()`."""

    kept: tuple[KeptLayer, ...]
    """Layers that keep their outputs."""
    attentions: tuple[str, ...]
    """`Attention` modules: whole heads go, then `num_heads` is set, `head_dim` stays."""
    stream: StreamRules | None = None
    """The residual stream, where there is one that may be narrowed."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the kept layers."""
        return tuple(layer.path for layer in self.kept)


def attentions(model: nn.Module) -> Iterator[tuple[str, Attention]]:
    """Every attention module of a model with its path."""
    for path, module in model.named_modules():
        if isinstance(module, Attention):
            yield path, module


def shuffled_layers(model: nn.Module) -> Iterator[KeptLayer]:
    """Convolutions of a ShuffleNet whose outputs are split and shuffled, which torch-pruning cannot follow.

    Within every unit the inner width of the second branch stays prunable.
    """
    reason = "its channels are split in halves and shuffled with others"
    for path, module in model.named_modules():
        units = [(name, unit) for name, unit in module.named_modules() if _is_shuffle_unit(unit)]
        if not (units and hasattr(module, "conv1")):
            continue
        yield KeptLayer(path=f"{path}.conv1.0", reason=reason)
        for name, unit in units:
            inner = [
                f"branch1.{index}" for index, layer in enumerate(unit.get_submodule("branch1").children()) if _is_conv(layer)
            ]
            for tail in (*inner, "branch2.5"):
                yield KeptLayer(path=f"{path}.{name}.{tail}", reason=reason)


def _is_shuffle_unit(module: nn.Module) -> bool:
    return (type(module).__module__, type(module).__name__) == ("torchvision.models.shufflenetv2", "InvertedResidual")


def _is_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d)
