"""What an explainer returns."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

__all__ = ["Attribution", "Explainer", "holding"]


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Signed attributions of a batch to the elements of its inputs."""

    values: tuple[Tensor | None, ...]
    """One per input, on its device: shaped as the input or without its channel axis, (B, T, H, W), (B, H, W) or (B, L, 1); None
    for inputs that were passed through or that the explainer says nothing about."""
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
    complete: bool = True
    """Whether Σ attributions stands for ΔF, so that the share of a modality can be told."""
    signed: bool = True
    """Whether values speak for (positive) or against a fake; otherwise they only say how much a place matters."""

    @property
    def change(self) -> Tensor:
        """ΔF = f(x) - f(baseline), (B,) float64."""
        return self.logit - self.baseline_logit

    def sums(self) -> tuple[Tensor | None, ...]:
        """Σ of the attributions of each input, (B,) float64; NaN where they do not stand for ΔF."""
        if not self.complete:
            return tuple(None if v is None else torch.full((len(v),), torch.nan, dtype=torch.float64) for v in self.values)
        return tuple(None if v is None else v.flatten(1).sum(dim=1, dtype=torch.float64).cpu() for v in self.values)

    @staticmethod
    def of_maps(
        maps: Sequence[Tensor | None], ends: tuple[Tensor, Tensor], *, nodes: int, signed: bool, complete: bool = False
    ) -> "Attribution":
        """Maps of an explainer that checks no completeness; `ends` are f(x) and f(baseline), (B,) each."""
        logit, start = ends
        return Attribution(
            values=tuple(maps),
            logit=logit,
            baseline_logit=start,
            delta=torch.zeros_like(logit),
            converged=torch.ones(len(logit), dtype=torch.bool),
            nodes=torch.full((len(logit),), nodes),
            complete=complete,
            signed=signed,
        )


class Explainer(Protocol):
    """Anything that turns a model and a batch into signed attributions."""

    def __call__(self, model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Attribution:
        """Explain a batch; inputs without a baseline are passed through unchanged."""
        ...


@contextmanager
def holding(explainer: Explainer, model: nn.Module) -> Iterator[Explainer]:
    """The explainer for several batches of one model; one that has a method `holding(model)` gets the model ready only once."""
    ready = getattr(explainer, "holding", None)
    if ready is None:
        yield explainer
        return
    with ready(model) as held:
        yield held
