"""Convolutional stages as TensorFlow computes them: what weights that were trained there need to mean the same here.

TensorFlow's SAME padding gives ⌈n / stride⌉ places and puts the odd pixel at the bottom and the right; torch's networks pad both
sides alike and so look at other pixels wherever the stride is above 1. Its batch norms add 10⁻³ to the variance, torch's 10⁻⁵.
"""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SameConv2d", "as_tensorflow"]

EPSILON = 1e-3


class SameConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow does, by the size of what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, outputs, ⌈H / stride⌉, ⌈W / stride⌉)."""
        # as numbers: a traced shape is a tensor, and ONNX divides those towards zero
        rows, columns = (_missing(int(x.shape[2 + axis]), self.kernel_size[axis], self.stride[axis]) for axis in (0, 1))
        padded = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return super().forward(padded)


def as_tensorflow(stages: nn.Module) -> None:
    """Let the convolutions with a stride and the batch norms of a network compute as TensorFlow's; weights stay as they are."""
    for path, layer in list(stages.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = EPSILON
        elif type(layer) is nn.Conv2d and max(layer.stride) > 1:
            stages.set_submodule(path, _same(layer))


def _same(layer: nn.Conv2d) -> SameConv2d:
    new = SameConv2d(
        layer.in_channels,
        layer.out_channels,
        (layer.kernel_size[0], layer.kernel_size[1]),
        (layer.stride[0], layer.stride[1]),
        groups=layer.groups,
        bias=layer.bias is not None,
        device="meta",
    )
    new.weight, new.bias = layer.weight, layer.bias
    return new


def _missing(size: int, kernel: int, stride: int) -> int:
    """How many places must be added to one axis."""
    return max(0, (-(-size // stride) - 1) * stride + kernel - size)
