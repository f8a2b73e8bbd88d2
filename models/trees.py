"""Gradient-boosted trees as a torch module: plain gathers, so that they are saved, exported and run like any other layer."""

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.record import recordable

__all__ = ["Trees"]


@recordable
class Trees(nn.Module):
    """A sum of complete binary trees of one depth.

    Node k of a tree has the children 2k + 1 (feature ≤ threshold) and 2k + 2; a branch that ended earlier repeats its leaf.

    Args:
        count: number of trees.
        depth: decisions from root to leaf.

    Raises:
        ConfigurationError: there is none, or a depth outside of 1…8.
    """

    feature: Tensor
    """(count · (2^depth − 1),) int64, which feature each inner node looks at."""
    threshold: Tensor
    """The same shape, float32."""
    value: Tensor
    """(count · 2^depth,) float32, what each leaf adds."""
    start: Tensor
    """(1,) float32, the sum before the first tree."""

    def __init__(self, *, count: int, depth: int) -> None:
        super().__init__()
        if count < 1 or not 1 <= depth <= 8:
            raise ConfigurationError(f"trees must be at least one, of a depth within 1–8; got {count} of depth {depth}")
        self.count = count
        self.depth = depth
        inner, leaves = 2**depth - 1, 2**depth
        self.register_buffer("feature", torch.zeros(count * inner, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(count * inner))
        self.register_buffer("value", torch.zeros(count * leaves))
        self.register_buffer("start", torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) → (B, 1), the sum of all trees."""
        trees, inner, leaves = torch.arange(self.count, device=features.device), 2**self.depth - 1, 2**self.depth
        first_inner, first_leaf = trees * inner, trees * leaves
        node = torch.zeros_like(features[:, :1], dtype=torch.int64) + torch.zeros_like(first_inner)  # (B, count)
        for _ in range(self.depth):
            at = node + first_inner
            seen = torch.gather(features, 1, self.feature[at])
            node = 2 * node + 1 + (seen > self.threshold[at]).to(torch.int64)
        leaf = node - inner + first_leaf
        return self.value[leaf].sum(dim=1, keepdim=True) + self.start
