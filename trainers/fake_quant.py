"""Fake quantisers and layers that hold them: rounding to 8 bits with straight-through gradients, on core aten operations.

Symmetric everywhere: real zero is an integer, and the step is the reach divided by 127 (255 for values that are never negative).
Weights have one step per output channel, activations one per tensor (Jacob et al. 2018; Krishnamoorthi 2018, section 2).
A layer keeps its parameters, their names and its attributes when it is quantised; it gains quantisers as children.
"""

from enum import StrEnum
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretolens.models.record import recordable

__all__ = [
    "ActivationQuantiser",
    "Grid",
    "Observer",
    "QuantisedConv1d",
    "QuantisedConv2d",
    "QuantisedLinear",
    "QuantisedMaxPool2d",
    "QuantisedReLU",
    "WeightQuantiser",
]

SMALLEST_STEP = 1e-8
SAMPLED = 65536


class Grid(StrEnum):
    """Integers of an activation: (lowest, highest, zero point, divisor of the reach)."""

    INT8 = "int8"  # −128..127 around 0: what TensorRT takes
    UINT8 = "uint8"  # 0..255 around 128, the same values; ONNX Runtime wants one type throughout
    UINT8_POSITIVE = "uint8_positive"  # 0..255 from 0, for values that are never negative


_LIMITS = {Grid.INT8: (-128, 127, 0, 127.0), Grid.UINT8: (0, 255, 128, 127.0), Grid.UINT8_POSITIVE: (0, 255, 0, 255.0)}


class Observer(StrEnum):
    """How far activations reach."""

    AVERAGE = "average"  # moving average of each batch's largest |x|
    PERCENTILE = "percentile"  # moving average of each batch's percentile of |x|


@recordable
class ActivationQuantiser(nn.Module):
    """Rounds a tensor to 8 bits; in training mode it first observes how far the values reach.

    `enabled = False` passes values through, `observing = False` keeps the reach.
    """

    def __init__(
        self, *, grid: Grid = Grid.INT8, observer: Observer = Observer.AVERAGE, momentum: float = 0.05, percentile: float = 0.9999
    ) -> None:
        super().__init__()
        self.grid = grid.value
        self.observer = observer.value
        self.momentum = momentum
        self.percentile = percentile
        self.enabled = True
        self.observing = True
        self.register_buffer("reach", torch.zeros(()))
        self.reach: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Any float tensor → the same, on the grid."""
        if self.training and self.observing:
            self._observe(x.detach())
        if not self.enabled:
            return x
        low, high, zero, _ = _LIMITS[Grid(self.grid)]
        if torch.onnx.is_in_onnx_export():
            return torch.fake_quantize_per_tensor_affine(x, float(self.step()), zero, low, high)
        place = torch.full((1,), zero, dtype=torch.int32, device=x.device)
        return torch.fake_quantize_per_tensor_affine(x, self.step().reshape(1), place, low, high)

    def step(self) -> Tensor:
        """() float32, distance between two neighbouring values."""
        return (self.reach / _LIMITS[Grid(self.grid)][3]).clamp_min(SMALLEST_STEP)

    def _observe(self, x: Tensor) -> None:
        if self.observer == Observer.PERCENTILE:
            flat = x.abs().reshape(-1)
            reach = torch.quantile(flat[:: max(1, flat.numel() // SAMPLED)].float(), self.percentile)
        else:
            reach = torch.maximum(x.amax(), -x.amin())
        self.reach.copy_(torch.where(self.reach == 0, reach, self.reach + (reach - self.reach) * self.momentum))


@recordable
class WeightQuantiser(nn.Module):
    """Rounds a weight to −128..127 with one step per output channel, from the weight itself until `frozen`."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.enabled = True
        self.frozen = False
        self.register_buffer("steps", torch.zeros(channels))
        self.steps: Tensor

    def forward(self, weight: Tensor, axis: int = 0) -> Tensor:
        """(C, ...) weight, or its transpose with the channels on `axis` → the same, on the grid."""
        if not self.enabled:
            return weight
        steps = self.steps if self.frozen else self.measured(weight if axis == 0 else weight.t())
        zero = torch.zeros_like(steps, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, steps, zero, axis, -128, 127)

    def measured(self, weight: Tensor) -> Tensor:
        """(C,) step of each channel: its largest |w| / 127."""
        return (weight.detach().abs().flatten(1).amax(1) / 127.0).clamp_min(SMALLEST_STEP)

    def freeze(self, weight: Tensor) -> None:
        """Keep the steps of this weight."""
        self.steps.copy_(self.measured(weight))
        self.frozen = True


class _Quantised(nn.Module):
    """What the quantised layers share; made from a plain layer by `of`."""

    input_quantiser: nn.Module
    weight_quantiser: WeightQuantiser
    output_quantiser: nn.Module

    @classmethod
    def of(cls, layer: nn.Module) -> Self:
        """The same layer, its parameters included, with places for quantisers."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.__dict__.update(layer.__dict__)
        made._modules = dict(layer._modules)
        made.input_quantiser = nn.Identity()
        made.output_quantiser = nn.Identity()
        if isinstance(weight := getattr(layer, "weight", None), Tensor):
            made.weight_quantiser = WeightQuantiser(channels=len(weight))
        return made


@recordable
class QuantisedConv2d(_Quantised, nn.Conv2d):
    """Convolution with rounded inputs, weights and, where placed, outputs."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Conv2d`."""
        out: Tensor = self.output_quantiser(
            self._conv_forward(self.input_quantiser(x), self.weight_quantiser(self.weight), self.bias)
        )
        return out


@recordable
class QuantisedConv1d(_Quantised, nn.Conv1d):
    """Convolution with rounded inputs, weights and, where placed, outputs."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Conv1d`."""
        out: Tensor = self.output_quantiser(
            self._conv_forward(self.input_quantiser(x), self.weight_quantiser(self.weight), self.bias)
        )
        return out


@recordable
class QuantisedLinear(_Quantised, nn.Linear):
    """Linear layer with rounded inputs and weights."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Linear`. It is exported with a transposed constant, so that runtimes find Q/DQ right before the product."""
        x = self.input_quantiser(x)
        if torch.onnx.is_in_onnx_export() and x.ndim > 2:
            product = torch.matmul(x, self.weight_quantiser(self.weight.t(), 1))
            out: Tensor = product if self.bias is None else product + self.bias
        else:
            out = F.linear(x, self.weight_quantiser(self.weight), self.bias)
        rounded: Tensor = self.output_quantiser(out)
        return rounded


@recordable
class QuantisedReLU(_Quantised, nn.ReLU):
    """ReLU with rounded outputs, which a runtime melts into the layer before it."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.ReLU`."""
        out: Tensor = self.output_quantiser(F.relu(x))
        return out


@recordable
class QuantisedMaxPool2d(_Quantised, nn.MaxPool2d):
    """Maximum of rounded values; its quantiser has the steps of the one before it, so that it changes nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.MaxPool2d`."""
        out: Tensor = self.output_quantiser(super().forward(x))
        return out
