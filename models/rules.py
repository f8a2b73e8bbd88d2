"""What structured pruning must know about a model: which layers it may not narrow, and which layers are attention heads."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from paretolens.models.attention import Attention

__all__ = ["KeptLayer", "PruningRules", "attentions"]


@dataclass(frozen=True, kw_only=True)
class KeptLayer:
    """A layer whose outputs pruning leaves alone; its inputs may still be narrowed."""

    path: str
    """Where it is: `model.get_submodule(path)`."""
    reason: str
    """Why, in words for the report."""


@dataclass(frozen=True, kw_only=True)
class PruningRules:
    """Rules for one model; paths are those of `model.named_modules()`."""

    kept: tuple[KeptLayer, ...]
    """Layers that keep their outputs."""
    attentions: tuple[str, ...]
    """`Attention` modules: whole heads go, then `num_heads` is set, `head_dim` stays."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the kept layers."""
        return tuple(layer.path for layer in self.kept)


def attentions(model: nn.Module) -> Iterator[tuple[str, Attention]]:
    """Every attention module of a model with its path."""
    for path, module in model.named_modules():
        if isinstance(module, Attention):
            yield path, module
