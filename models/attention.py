"""Multi-head attention which pruning, quantisation, ONNX and saliency can all work on; also with shared keys, and of low rank.

The four projections are separate `nn.Linear` layers and the number of heads is an attribute. Pruning takes whole heads away:
`head_dim` stays, `num_heads` falls, and `num_heads * head_dim == proj.in_features` always holds, while `proj.out_features`
(the residual stream) is untouched. Both matrix products are modules, so that a quantiser can be put on their inputs.
"""

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError

__all__ = ["MASKED_SCORE", "Attention", "FeedForward", "MatMul"]

MASKED_SCORE = -1.0e4
"""Score of an ignored position: finite, and within FP16, where exp of it is exactly 0 after the maximum is subtracted."""


class MatMul(nn.Module):
    """`left @ right`; `self.left` and `self.right` are the places for quantisers."""

    def __init__(self) -> None:
        super().__init__()
        self.left: nn.Module = nn.Identity()
        self.right: nn.Module = nn.Identity()

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """(..., N, K) @ (..., K, M) → (..., N, M)."""
        return torch.matmul(self.left(left), self.right(right))


class Attention(nn.Module):
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1) of a query sequence over a memory sequence.

    Args:
        width: of query, memory and result.
        heads: number of heads.
        dropout: of the weights.
        head_dim: width of one head; None = width / heads.
        bias: whether q, k and v have a bias.
        shared: whether all heads read the same keys and values (multi-query attention, Shazeer 2019).
        rank: each projection is two thinner ones with so many channels between, where that saves anything; None = whole.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        dropout: float = 0.0,
        head_dim: int | None = None,
        bias: bool = True,
        shared: bool = False,
        rank: int | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or (head_dim is None and width % heads):
            raise ConfigurationError(
                f"width must be divisible by heads; got width {width} and heads {heads}: choose another width or number of heads"
            )
        self.num_heads = heads
        self.head_dim = width // heads if head_dim is None else head_dim
        self.shared = shared
        inner = self.num_heads * self.head_dim
        memory = self.head_dim if shared else inner
        self.q = projection(width, inner, rank, bias=bias)
        self.k = projection(width, memory, rank, bias=bias)
        self.v = projection(width, memory, rank, bias=bias)
        self.proj = projection(inner, width, rank)
        self.scores = MatMul()
        self.mix = MatMul()
        self.dropout = nn.Dropout(dropout)
        for layer in (each for each in self.modules() if isinstance(each, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    @property
    def divisible(self) -> bool:
        """Whether heads can be taken away one by one: each has keys and values of its own, and projections are whole."""
        return not self.shared and all(isinstance(layer, nn.Linear) for layer in (self.q, self.k, self.v, self.proj))

    def forward(self, query: Tensor, memory: Tensor, ignore: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            query: (B, N, width).
            memory: (B, M, width); keys and values.
            ignore: (B, M) bool, True = never attended; None = none. Where a whole row is True the weights are uniform (finite).

        Returns:
            (B, N, width) and the weights (B, heads, N, M) before dropout; their rows sum to 1.
        """
        q = self._split(self.q(query)) * self.head_dim**-0.5
        k, v = self.k(memory), self.v(memory)
        k, v = (k[:, None], v[:, None]) if self.shared else (self._split(k), self._split(v))
        scores = self.scores(q, k.transpose(-2, -1))
        if ignore is not None:
            scores = scores.masked_fill(ignore[:, None, None, :], MASKED_SCORE)
        weights = torch.softmax(scores, dim=-1)
        mixed = self.mix(self.dropout(weights), v).transpose(1, 2)
        joined = mixed.reshape(mixed.shape[0], mixed.shape[1], self.num_heads * self.head_dim)
        return self.proj(joined), weights

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, heads·head_dim) → (B, heads, N, head_dim)."""
        return x.reshape(x.shape[0], x.shape[1], self.num_heads, self.head_dim).transpose(1, 2)


def projection(width: int, out: int, rank: int | None, *, bias: bool = True) -> nn.Module:
    """A linear layer, or two that have fewer weights together: width → rank → out."""
    if rank is None or rank * (width + out) >= width * out:
        return nn.Linear(width, out, bias=bias)
    return nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, out, bias=bias))


class FeedForward(nn.Module):
    """Linear, GELU, dropout, Linear; the hidden width may be pruned, the outer width is the residual stream."""

    def __init__(self, *, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.dropout = nn.Dropout(dropout)
        self.contract = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) → (..., width)."""
        out: Tensor = self.contract(self.dropout(self.act(self.expand(x))))
        return out
