"""timm's attention in the shape of ours, so that heads can be pruned and products quantised; the weights stay the same."""

from collections.abc import Iterator
from typing import Any

import torch
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
        q = self._split(self.q(x)) * self.head_dim**-0.5
        weights = torch.softmax(self.scores(q, self._split(self.k(x)).transpose(-2, -1)), dim=-1)
        mixed = self.mix(self.dropout(weights), self._split(self.v(x))).transpose(1, 2)
        out: Tensor = self.proj(mixed.reshape(x.shape[0], x.shape[1], self.num_heads * self.head_dim))
        return out


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
    new = SelfAttention(width=width, heads=old.num_heads, dropout=old.attn_drop.p)
    with torch.no_grad():
        for index, layer in enumerate((new.q, new.k, new.v)):
            layer.weight.copy_(old.qkv.weight[index * width : (index + 1) * width])
            if old.qkv.bias is not None:
                layer.bias.copy_(old.qkv.bias[index * width : (index + 1) * width])
        new.proj.load_state_dict(old.proj.state_dict())
    return new
