"""timm's attention in the shape of ours, so that heads can be pruned and products quantised; the weights stay the same."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from paretolens.models.attention import Attention

__all__ = ["SelfAttention", "adopt_attention"]


class SelfAttention(Attention):
    """A sequence that attends to itself, without a mask."""

    def forward(  # type: ignore[override]  # a sequence attends to itself: there is no memory, and nothing is ignored
        self, x: Tensor, attn_mask: None = None, is_causal: bool = False
    ) -> Tensor:
        """(B, N, width) → (B, N, width); timm passes a mask, which must be None."""
        assert attn_mask is None and not is_causal, "pictures have no positions to ignore"
        return super().forward(x, x)[0]


def adopt_attention(network: nn.Module) -> tuple[str, ...]:
    """Put our attention in the place of timm's plain one, with its weights; returns the paths.

    Attention with norms, gates or windows of its own is left as it is.
    """
    paths = tuple(_plain(network))
    for path in paths:
        network.set_submodule(path, _converted(network.get_submodule(path)))
    return paths


def _plain(network: nn.Module) -> Iterator[str]:
    from timm.layers.attention import Attention as TimmAttention

    for path, module in network.named_modules():
        if type(module) is not TimmAttention or module.gate is not None:
            continue
        if all(isinstance(part, nn.Identity) for part in (module.q_norm, module.k_norm, module.norm)):
            yield path


def _converted(old: Any) -> SelfAttention:
    width = old.proj.in_features
    biased = old.qkv.bias is not None
    new = SelfAttention(width=width, heads=old.num_heads, dropout=old.attn_drop.p, bias=biased)
    weights, biases = old.qkv.weight.chunk(3), old.qkv.bias.chunk(3) if biased else (None,) * 3
    for layer, weight, bias in zip((new.q, new.k, new.v), weights, biases, strict=True):
        layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    new.proj.load_state_dict(old.proj.state_dict())
    return new
