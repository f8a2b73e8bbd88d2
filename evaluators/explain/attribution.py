"""What an explainer returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

__all__ = ["Attribution", "Explainer"]


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Signed attributions of a batch to the elements of its inputs."""

    values: tuple[Tensor | None, ...]
    """One per input, shaped as the input, on its device; None for inputs that were passed through."""
    logit: Tensor
    """(B,) float64, f(x)."""
    baseline_logit: Tensor
    """(B,) float64, f(baseline)."""
    delta: Tensor
    """(B,) float64, δ = Σ attributions - ΔF; 0 for explainers without completeness."""
    converged: Tensor
    """(B,) bool, whether δ is within the tolerance."""
    nodes: Tensor
    """(B,) int64, gradients taken per sample."""

    @property
    def change(self) -> Tensor:
        """ΔF = f(x) - f(baseline), (B,) float64."""
        return self.logit - self.baseline_logit

    def sums(self) -> tuple[Tensor | None, ...]:
        """Σ of the attributions of each input, (B,) float64."""
        return tuple(None if v is None else v.flatten(1).sum(dim=1, dtype=torch.float64).cpu() for v in self.values)


class Explainer(Protocol):
    """Anything that turns a model and a batch into signed attributions."""

    def __call__(self, model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Attribution:
        """Explain a batch; inputs without a baseline are passed through unchanged."""
        ...
