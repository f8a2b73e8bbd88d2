"""Integrated Gradients over several inputs at once, with adaptive nodes and the completeness check.

A_i = (x_i - b_i) · Σ_k w_k ∂f/∂x_i (b + α_k (x - b)), f the raw logit, all explained inputs moving on one straight path
(Sundararajan, Taly and Yan, ICML 2017, equations 1 and 3). Completeness: Σ_i A_i = f(x) - f(b); what is missing is δ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError, TrialError
from paretolens.evaluators.explain.attribution import Attribution
from paretolens.evaluators.explain.fold import norms_folded
from paretolens.evaluators.explain.forward import held_still, logits, logits_in_chunks
from paretolens.evaluators.explain.nodes import adaptive_nodes, gauss_legendre, probe_positions

__all__ = ["IntegratedGradients", "gradient_sums"]


def blend(inputs: Sequence[Tensor], baseline: Sequence[Tensor | None], row: Tensor, position: Tensor) -> list[Tensor]:
    """Points b + α(x - b) on the paths of the samples `row`; inputs without a baseline pass unchanged."""
    points = []
    for x, b in zip(inputs, baseline, strict=True):
        here = x[row]
        if b is not None:
            alpha = position.to(here.dtype).to(here.device).view(-1, *[1] * (here.dim() - 1))
            here = torch.lerp(b.to(here.device, here.dtype).expand_as(here), here, alpha)
        points.append(here)
    return points


def input_gradients(model: nn.Module, points: list[Tensor], moving: Sequence[int]) -> list[Tensor | None]:
    """∂ Σ logit / ∂ input for the inputs `moving`; None for an input that the model does not use.

    Raises:
        BackendError: the logit does not depend on any input in a way that torch can differentiate.
    """
    with torch.enable_grad():
        for index in moving:
            points[index].requires_grad_(True)
        logit = logits(model, points)
        found: tuple[Tensor | None, ...] = ()
        if logit.requires_grad:
            found = torch.autograd.grad(logit.sum(), [points[index] for index in moving], allow_unused=True)
    if not any(gradient is not None for gradient in found):
        raise BackendError(
            f"{type(model).__name__} cannot be differentiated with respect to its inputs, so it has no gradients to integrate; "
            "explain its torch twin instead of the exported artefact"
        )
    return list(found)


def gradient_sums(
    model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None], nodes: tuple[Tensor, Tensor], chunk: int
) -> list[Tensor | None]:
    """Σ_k w_k ∂f/∂x at the nodes, for each input, shaped as the input; `chunk` points (samples × nodes) at a time.

    Args:
        model: held still by the caller.
        inputs: (B, ...) each.
        baseline: broadcastable to the input, None = the input does not move.
        nodes: positions in [0, 1] and weights, both (B, K).
        chunk: how many points go through the model at once; this bounds the memory.
    """
    position, weight = nodes
    moving = [index for index, b in enumerate(baseline) if b is not None]
    sums = [torch.zeros_like(x) if b is not None else None for x, b in zip(inputs, baseline, strict=True)]
    rows = torch.arange(len(position)).repeat_interleave(position.shape[1])
    alphas, weights = position.flatten(), weight.flatten()
    for start in range(0, len(rows), chunk):
        part = slice(start, start + chunk)
        row = rows[part].to(inputs[0].device)
        points = blend(inputs, baseline, row, alphas[part])
        for index, gradient in zip(moving, input_gradients(model, points, moving), strict=True):
            total = sums[index]
            if gradient is not None and total is not None:
                scale = weights[part].to(gradient.dtype).to(gradient.device).view(-1, *[1] * (gradient.dim() - 1))
                total.index_add_(0, row, gradient * scale)
    return sums


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients:
    """The explainer: call it as `explainer(model, inputs, baseline)`; the settings are those of the study."""

    nodes: Annotated[int, Ge(1), Le(1024)] = 16
    """Gradients per sample on the first attempt."""
    probes: Annotated[int, Ge(0), Le(1024)] = 8
    """Forward passes per sample that find where the logit moves; 0 = uniform Gauss–Legendre nodes."""
    uniform_share: Annotated[float, Gt(0), Le(1)] = 0.15
    """Share of the nodes that is spread evenly whatever the logit does."""
    tolerance: Annotated[float, Gt(0)] = 0.05
    """A sample is converged where |δ| ≤ tolerance · max(|ΔF|, Σ|A|)."""
    doublings: Annotated[int, Ge(0), Le(6)] = 1
    """How often the nodes of an unconverged sample are doubled."""
    chunk: Annotated[int, Ge(1)] = 20
    """Points (samples × nodes) that go through the model at once; about 20 is best on a CPU."""

    def __call__(self, model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Attribution:
        """Explain a batch; each input is (B, ...), its baseline broadcastable to it, or None to pass it through unchanged.

        Raises:
            ConfigurationError: the inputs are not what the model takes, or nothing has a baseline.
            BackendError: the model cannot be differentiated.
            TrialError: gradients or logits are not finite.
        """
        if len(inputs) != len(baseline) or all(b is None for b in baseline):
            raise ConfigurationError(
                f"Integrated Gradients needs one baseline per explained input (None for a mask): got {len(inputs)} inputs, "
                f"{sum(b is not None for b in baseline)} baselines"
            )
        with held_still(model), norms_folded(model):
            return self._explain(model, inputs, baseline)

    def _explain(self, model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Attribution:
        at, seen = self._probe(model, inputs, baseline)
        logit, start = seen[:, -1], seen[:, 0]
        values, delta, converged = self._integrate(model, inputs, baseline, (at, seen), self.nodes)
        used = torch.full((len(logit),), self.nodes)
        for doubling in range(1, self.doublings + 1):
            left = (~converged).nonzero()[:, 0]
            if not len(left):
                break
            count = self.nodes * 2**doubling
            some = [x[left.to(x.device)] for x in inputs]
            again, delta_again, converged_again = self._integrate(model, some, baseline, (at, seen[left]), count)
            delta[left], converged[left], used[left] = delta_again, converged_again, count
            for old, new in zip(values, again, strict=True):
                if old is not None and new is not None:
                    old[left.to(old.device)] = new
        return Attribution(values=tuple(values), logit=logit, baseline_logit=start, delta=delta, converged=converged, nodes=used)

    def _probe(self, model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
        """Logits (B, P) along the path, float64 on the CPU, and the positions (P,); at least both ends."""
        at = probe_positions(max(self.probes, 2))
        count = len(inputs[0])
        rows, alphas = torch.arange(count).repeat_interleave(len(at)), at.repeat(count)
        found = []
        for start in range(0, len(rows), self.chunk):
            part = slice(start, start + self.chunk)
            points = blend(inputs, baseline, rows[part].to(inputs[0].device), alphas[part])
            found.append(logits_in_chunks(model, points, self.chunk))
        seen = torch.cat(found).view(count, len(at)).to("cpu", torch.float64)
        if not bool(torch.isfinite(seen).all()):
            raise TrialError(f"{type(model).__name__} gives logits that are not finite; lower its learning rate")
        return at, seen

    def _integrate(
        self,
        model: nn.Module,
        inputs: Sequence[Tensor],
        baseline: Sequence[Tensor | None],
        probed: tuple[Tensor, Tensor],
        count: int,
    ) -> tuple[list[Tensor | None], Tensor, Tensor]:
        """Attributions, δ (B,) and what has converged (B,)."""
        at, seen = probed
        nodes = adaptive_nodes(at, seen, count, self.uniform_share) if self.probes > 2 else gauss_legendre(len(seen), count)
        values = gradient_sums(model, inputs, baseline, nodes, self.chunk)
        total, size = torch.zeros(len(seen), dtype=torch.float64), torch.zeros(len(seen), dtype=torch.float64)
        for x, b, value in zip(inputs, baseline, values, strict=True):
            if value is not None and b is not None:
                value.mul_(x - b.to(x.device, x.dtype))
                total += value.flatten(1).sum(dim=1, dtype=torch.float64).cpu()
                size += value.flatten(1).abs().sum(dim=1, dtype=torch.float64).cpu()
        if not bool(torch.isfinite(size).all()):
            raise TrialError(f"{type(model).__name__} gives gradients that are not finite; lower its learning rate")
        change = seen[:, -1] - seen[:, 0]
        delta = total - change
        return values, delta, delta.abs() <= self.tolerance * torch.maximum(change.abs(), size)
