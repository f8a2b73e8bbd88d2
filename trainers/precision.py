"""Mixed precision: matrix products and convolutions in 16 bits where torch's autocast allows, weights and sums in 32."""

import math
from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError

__all__ = ["Precision", "Stepper", "require_precision"]


class Precision(StrEnum):
    """In what the products of a training step are computed."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    """The range of float32 with 8 bits of mantissa; on GPUs since Ampere, and on CPUs."""
    FLOAT16 = "float16"
    """On GPUs alone; the loss is scaled so that small gradients stay above zero (Micikevicius et al. 2018, section 3.2)."""


_TYPES = {Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}
_LEAST_SCALE = 1.0
"""Gradients that overflow without any scaling are the model's fault, not the scale's."""


def require_precision(precision: Precision, device: torch.device) -> None:
    """See that a device has a precision.

    Raises:
        ConfigurationError: float16 on a CPU.
    """
    if precision is Precision.FLOAT16 and device.type != "cuda":
        raise ConfigurationError(f"precision float16 needs a GPU, this trains on a {device.type}; use bfloat16 or float32")


class Stepper:
    """Forward, backward and the optimiser's step in one precision.

    Args:
        precision: of products.
        device: where the model is.
        optimiser: of its weights, which stay float32.

    Raises:
        ConfigurationError: float16 on a CPU.
    """

    def __init__(self, precision: Precision, device: torch.device, optimiser: torch.optim.Optimizer) -> None:
        require_precision(precision, device)
        self._optimiser = optimiser
        self._autocast = torch.autocast(device.type, dtype=_TYPES.get(precision), enabled=precision in _TYPES)
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision is Precision.FLOAT16)

    def forward(self) -> torch.autocast:
        """Context in which the loss is computed."""
        return self._autocast

    def backward(self, loss: Tensor, parameters: Sequence[nn.Parameter], clip_norm: float) -> float:
        """Go back through the loss and clip; returns the gradient's norm before.

        In float16 a scale so large that gradients overflow is halved and the step left out; the norm is given as 0 then.
        """
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip_norm))
        too_large = self._scaler.is_enabled() and not math.isfinite(norm) and self._scaler.get_scale() > _LEAST_SCALE
        return 0.0 if too_large else norm

    def step(self) -> None:
        """Move the weights."""
        self._scaler.step(self._optimiser)
        self._scaler.update()
