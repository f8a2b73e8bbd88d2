"""GradientSHAP: expected gradients at random points between noisy inputs and the baseline, by Captum.

A = E[(x + ε - b) · ∂f/∂x (b + α(x + ε - b))], α uniform on [0, 1], ε normal (Lundberg and Lee 2017; Erion et al. 2021, eq. 3).
Unlike Integrated Gradients it leaves the straight path, so that it sees what lies around it; Σ A is ΔF up to sampling error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from paretolens.errors import ConfigurationError, TrialError
from paretolens.evaluators.explain.attribution import Attribution
from paretolens.evaluators.explain.forward import end_logits, held_still, logits

__all__ = ["GradientShap"]


@dataclass(frozen=True, kw_only=True)
class GradientShap:
    """The explainer: call it as `explainer(model, inputs, baseline)`. Draws come from its seed, the same for every model."""

    nodes: Annotated[int, Ge(1), Le(1024)] = 16
    """Gradients per sample."""
    noise: Annotated[float, Ge(0)] = 0.1
    """Standard deviation of ε, in units of the normalised inputs."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of α and ε."""
    chunk: Annotated[int, Ge(1)] = 20
    """Samples of the forward passes that find f(x) and f(baseline); the points of one sample always go together."""

    def __call__(self, model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Attribution:
        """Explain a batch, sample by sample, `nodes` points at a time.

        Raises:
            ConfigurationError: nothing has a baseline, or the inputs are not what the model takes.
            TrialError: gradients or logits are not finite.
        """
        moving = [index for index, b in enumerate(baseline) if b is not None]
        if not moving:
            raise ConfigurationError("GradientSHAP needs a baseline for at least one input (None for a mask): got none")
        with held_still(model), seeded(self.seed):
            ends = end_logits(model, inputs, baseline, self.chunk)
            rows = [self._explain(model, [x[i : i + 1] for x in inputs], baseline, moving) for i in range(len(inputs[0]))]
        maps: list[Tensor | None] = [None] * len(inputs)
        for place, index in enumerate(moving):
            maps[index] = torch.cat([row[place] for row in rows])
            if not bool(torch.isfinite(maps[index]).all()):  # type: ignore[arg-type]  # just set
                raise TrialError(f"{type(model).__name__} gives gradients that are not finite; lower its learning rate")
        return Attribution.of_maps(maps, ends, nodes=self.nodes, signed=True, complete=True)

    def _explain(
        self, model: nn.Module, one: list[Tensor], baseline: Sequence[Tensor | None], moving: list[int]
    ) -> tuple[Tensor, ...]:
        """Attributions of one sample to the inputs `moving`."""
        from captum.attr import GradientShap as CaptumGradientShap

        fixed = [index for index in range(len(one)) if index not in moving]

        def forward(*tensors: Tensor) -> Tensor:
            points = dict(zip([*moving, *fixed], tensors, strict=True))
            return logits(model, [points[index] for index in range(len(one))])

        found: tuple[Tensor, ...] = CaptumGradientShap(forward).attribute(
            tuple(one[index] for index in moving),
            tuple(b.to(one[index]) for index, b in enumerate(baseline) if b is not None),
            n_samples=self.nodes,
            stdevs=self.noise,
            additional_forward_args=tuple(one[index] for index in fixed) or None,
        )
        return tuple(part.detach() for part in found)


class seeded:  # noqa: N801  # reads as a verb in `with`
    """Captum draws from the global generators of torch and NumPy: seed both inside of the block, put both back after it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.fork = torch.random.fork_rng()

    def __enter__(self) -> None:
        self.state = np.random.get_state()  # Captum draws α from here
        self.fork.__enter__()
        torch.manual_seed(self.seed)
        np.random.seed(self.seed)

    def __exit__(self, *error: object) -> None:
        np.random.set_state(self.state)
        self.fork.__exit__(None, None, None)
