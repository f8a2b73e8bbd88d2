"""Integrated Gradients over several inputs at once, with adaptive nodes and the completeness check.

A_i = (x_i - b_i) · Σ_k w_k ∂f/∂x_i (b + α_k (x - b)), f the raw logit, all explained inputs moving on one straight path
(Sundararajan, Taly and Yan, ICML 2017, equations 1 and 3). Completeness: Σ_i A_i = f(x) - f(b); what is missing is δ.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from paretolens.errors import ConfigurationError, TrialError
from paretolens.evaluators.explain.attribution import Attribution
from paretolens.evaluators.explain.fold import norms_folded
from paretolens.evaluators.explain.forward import held_still
from paretolens.evaluators.explain.nodes import adaptive_nodes, gauss_legendre, probe_positions
from paretolens.evaluators.explain.paths import Paths, keep_freed_memory
from paretolens.evaluators.explain.stem import Cut, find_cut

__all__ = ["IntegratedGradients"]

Explain = Callable[[nn.Module, Sequence[Tensor], Sequence[Tensor | None]], Attribution]
"""An explainer that is ready for one model."""


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
    chunk: Annotated[int, Ge(1)] = 32
    """Points (samples × nodes) that go through the model at once; 16 to 48 are best on a CPU, hundreds on a GPU."""

    def __call__(self, model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Attribution:
        """Explain a batch; each input is (B, ...), its baseline broadcastable to it, or None to pass it through unchanged.

        Raises:
            ConfigurationError: the inputs are not what the model takes, or nothing has a baseline.
            BackendError: the model cannot be differentiated.
            TrialError: gradients or logits are not finite.
        """
        with self.holding(model) as explain:
            return explain(model, inputs, baseline)

    @contextmanager
    def holding(self, model: nn.Module) -> Iterator[Explain]:
        """Get a model ready once for several batches: held still, its norms folded, its affine stem found."""
        found: list[Cut | None] = []
        ready = ExitStack()

        def explain(same: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Attribution:
            if len(inputs) != len(baseline) or all(b is None for b in baseline):
                raise ConfigurationError(
                    f"Integrated Gradients needs one baseline per explained input (None for a mask): got {len(inputs)} inputs, "
                    f"{sum(b is not None for b in baseline)} baselines"
                )
            if not found:
                ready.enter_context(norms_folded(same, [x[:2] for x in inputs]))
                found.append(find_cut(same, inputs, baseline))
            return self._explain(Paths(same, inputs, baseline, chunk=self.chunk, cut=found[0]))

        keep_freed_memory()
        with held_still(model), ready:
            yield explain

    def _explain(self, paths: Paths) -> Attribution:
        at = probe_positions(max(self.probes, 2))
        seen = paths.logits(at.expand(len(paths), -1))
        name = type(paths.model).__name__
        if not bool(torch.isfinite(seen).all()):
            raise TrialError(f"{name} gives logits that are not finite; lower its learning rate")
        logit, start = seen[:, -1], seen[:, 0]
        values, delta, converged = self._integrate(paths, (at, seen), self.nodes)
        used = torch.full((len(logit),), self.nodes)
        for doubling in range(1, self.doublings + 1):
            left = (~converged).nonzero()[:, 0]
            if not len(left):
                break
            count = self.nodes * 2**doubling
            again, delta_again, converged_again = self._integrate(paths.rows(left), (at, seen[left]), count)
            delta[left], converged[left], used[left] = delta_again, converged_again, count
            for old, new in zip(values, again, strict=True):
                if old is not None and new is not None:
                    old[left.to(old.device)] = new
        return Attribution(values=tuple(values), logit=logit, baseline_logit=start, delta=delta, converged=converged, nodes=used)

    def _integrate(self, paths: Paths, probed: tuple[Tensor, Tensor], count: int) -> tuple[list[Tensor | None], Tensor, Tensor]:
        """Attributions, δ (B,) and what has converged (B,)."""
        at, seen = probed
        nodes = adaptive_nodes(at, seen, count, self.uniform_share) if self.probes > 2 else gauss_legendre(len(seen), count)
        values = paths.gradient_sums(*nodes)
        total, size = torch.zeros(len(seen), dtype=torch.float64), torch.zeros(len(seen), dtype=torch.float64)
        for x, b, value in zip(paths.inputs, paths.starts, values, strict=True):
            if value is not None:
                value.mul_(x - b)
                total += value.flatten(1).sum(dim=1, dtype=torch.float64).cpu()
                size += value.flatten(1).abs().sum(dim=1, dtype=torch.float64).cpu()
        if not bool(torch.isfinite(size).all()):
            raise TrialError(f"{type(paths.model).__name__} gives gradients that are not finite; lower its learning rate")
        change = seen[:, -1] - seen[:, 0]
        delta = total - change
        return values, delta, delta.abs() <= self.tolerance * torch.maximum(change.abs(), size)
