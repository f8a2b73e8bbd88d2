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
from paretolens.evaluators.explain.nodes import gauss_legendre, halving_points, nodes_in_cells
from paretolens.evaluators.explain.paths import Paths, keep_freed_memory
from paretolens.evaluators.explain.stem import Cut, find_cut

__all__ = ["IntegratedGradients"]

AT_ONCE = 8
"""One cell of so many is halved before the model is asked again where its logit moves."""

Explain = Callable[[nn.Module, Sequence[Tensor], Sequence[Tensor | None]], Attribution]
"""An explainer that is ready for one model."""


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients:
    """The explainer: call it as `explainer(model, inputs, baseline)`; the settings are those of the study."""

    nodes: Annotated[int, Ge(1), Le(1024)] = 16
    """Gradients per sample on the first attempt."""
    probes: Annotated[int, Ge(0), Le(1024)] = 33
    """Most forward passes per sample that find where the logit moves, both ends among them; no more are taken than nodes + 1.
    0 = uniform Gauss–Legendre nodes."""
    uniform_share: Annotated[float, Gt(0), Le(1)] = 0.15
    """Share of a cell's mass that is its width, whatever the logit does."""
    tolerance: Annotated[float, Gt(0)] = 0.05
    """A sample is converged where |δ| ≤ tolerance · max(|ΔF|, Σ|A|)."""
    doublings: Annotated[int, Ge(0), Le(6)] = 1
    """How often the nodes and probes of an unconverged sample are doubled."""
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

    @property
    def adaptive(self) -> bool:
        """Whether nodes lie where the logit moves."""
        return self.probes > 2

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
        at, seen = self._probed(paths, torch.tensor([[0.0, 1.0]]).double().expand(len(paths), -1), None, self.nodes)
        logit, start = seen[:, -1], seen[:, 0]
        values, delta, converged = self._integrate(paths, (at, seen), self.nodes)
        used, rows = torch.full((len(logit),), self.nodes), torch.arange(len(logit))
        for doubling in range(1, self.doublings + 1):
            left = ~converged[rows]
            if not bool(left.any()):
                break
            rows, count = rows[left], self.nodes * 2**doubling
            some = paths.rows(rows)
            at, seen = self._probed(some, at[left], seen[left], count)
            again, delta[rows], converged[rows] = self._integrate(some, (at, seen), count)
            used[rows] = count
            for old, new in zip(values, again, strict=True):
                if old is not None and new is not None:
                    old[rows.to(old.device)] = new
        return Attribution(values=tuple(values), logit=logit, baseline_logit=start, delta=delta, converged=converged, nodes=used)

    def _probed(self, paths: Paths, at: Tensor, seen: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        """Ascending positions (B, P) and the logits there, P such that `count` nodes are placed by them."""
        seen = paths.logits(at) if seen is None else seen
        cells = min(count, (self.probes - 1) * count // self.nodes) if self.adaptive else 1
        while (known := at.shape[1] - 1) < cells and bool(torch.isfinite(seen).all()):
            new = halving_points(at, seen, min(cells - known, max(1, known // AT_ONCE)), self.uniform_share)
            at, order = torch.cat([at, new], dim=1).sort(dim=1)
            seen = torch.cat([seen, paths.logits(new)], dim=1).gather(1, order)
        if not bool(torch.isfinite(seen).all()):
            raise TrialError(f"{type(paths.model).__name__} gives logits that are not finite; lower its learning rate")
        return at, seen

    def _integrate(self, paths: Paths, probed: tuple[Tensor, Tensor], count: int) -> tuple[list[Tensor | None], Tensor, Tensor]:
        """Attributions, δ (B,) and what has converged (B,)."""
        seen = probed[1]
        nodes = nodes_in_cells(*probed, count, self.uniform_share) if self.adaptive else gauss_legendre(len(seen), count)
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
