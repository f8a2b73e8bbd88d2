"""The optimisers that a stage may be trained with."""

from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import nn

__all__ = ["OptimiserKind", "make_optimiser"]


class OptimiserKind(StrEnum):
    """Which rule moves the weights."""

    ADAMW = "adamw"
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    SGD = "sgd"
    """Stochastic gradient descent, with momentum where that is above 0; its weight decay is an L2 term of the gradient."""


def make_optimiser(
    kind: OptimiserKind, parameters: Sequence[nn.Parameter], *, learning_rate: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    """An optimiser of some parameters; biases and norms, which have one dimension, have no weight decay.

    Args:
        kind: the rule.
        parameters: what is trained.
        learning_rate: of the first step.
        weight_decay: of matrices and kernels.
        momentum: of SGD, 0 ≤ m < 1; AdamW keeps its own moments.
    """
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    filled = [group for group in groups if group["params"]]
    if kind is OptimiserKind.SGD:
        return torch.optim.SGD(filled, lr=learning_rate, momentum=momentum, fused=True)
    return torch.optim.AdamW(filled, lr=learning_rate, fused=True)
