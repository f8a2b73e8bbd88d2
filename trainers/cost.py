"""Parameters and multiply-accumulates of a model, as the reports of this room need them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from paretolens.models.modes import standing_still

__all__ = ["Cost", "cost_of"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a model costs."""

    parameters: int
    """Number of parameters."""
    macs: int
    """Multiply-accumulates for one sample: convolutions and matrix products, attention included."""


def cost_of(model: nn.Module, example: tuple[Tensor, ...]) -> Cost:
    """Count; the example may hold several samples. The mode of the model is restored."""
    with standing_still(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*example)
    macs = counter.get_total_flops() // 2 // len(example[0])
    return Cost(parameters=sum(p.numel() for p in model.parameters()), macs=macs)
