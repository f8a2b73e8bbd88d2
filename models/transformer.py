"""Tokens of a feature map, and the transformer that mixes them (vision transformer, Dosovitskiy et al. 2021, pre-norm)."""

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.attention import Attention, FeedForward

__all__ = ["Encoder", "Layer", "Tokens"]

POSITION_DEVIATION = 0.02


class Tokens(nn.Module):
    """A feature map (B, C, g, g) → (B, 1 + n, width): a class token, then one token per patch of places, with positions.

    Args:
        channels: C.
        grid: g.
        patch: places along a side of a patch; it divides the grid.
        width: of a token.
        dropout: of the tokens.
        rows: positions that are held; None = as many as there are tokens, more are never used.
    """

    def __init__(
        self, *, channels: int, grid: int, patch: int, width: int, dropout: float = 0.0, rows: int | None = None
    ) -> None:
        super().__init__()
        if patch < 1 or grid % patch:
            fitting = [size for size in range(1, grid + 1) if grid % size == 0]
            raise ConfigurationError(
                f"a patch must divide the feature map's {grid} × {grid} places; got {patch}: "
                f"take one of {', '.join(map(str, fitting))}"
            )
        count = (grid // patch) ** 2 + 1
        self.project = nn.Conv2d(channels, width, patch, patch)
        self.first = nn.Parameter(torch.randn(1, 1, width) * POSITION_DEVIATION)
        self.positions = nn.Parameter(torch.randn(1, max(count, rows or 0), width) * POSITION_DEVIATION)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Make tokens."""
        patches = self.project(features).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.first.expand(patches.shape[0], -1, -1), patches), dim=1)
        out: Tensor = self.dropout(tokens + self.positions[:, : tokens.shape[1]])
        return out


class Layer(nn.Module):
    """Norm and self-attention, norm and feed-forward, each added to the stream."""

    def __init__(self, *, width: int, heads: int, head_dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attend = Attention(width=width, heads=heads, head_dim=head_dim, dropout=dropout, bias=False)
        self.norm2 = nn.LayerNorm(width)
        self.ffn = FeedForward(width=width, hidden=hidden, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, width) → the same."""
        y = self.norm1(x)
        x = x + self.attend(y, y)[0]
        out: Tensor = x + self.ffn(self.norm2(x))
        return out


class Encoder(nn.Module):
    """Layers, then a norm."""

    def __init__(self, *, depth: int, width: int, heads: int, head_dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(width=width, heads=heads, head_dim=head_dim, hidden=hidden, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, width) → the same."""
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.norm(x)
        return out
