"""Receptive fields by arithmetic: which pixels a cell of a map sees, and how one grid of cells averages to another exactly.

For layers without padding only: then cell i sees the pixels stride·i to stride·i + size − 1 along each axis, whatever the
picture's size (Araujo, Norris and Sim, Distill 2019, "Computing Receptive Fields of Convolutional Neural Networks").
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from paretolens.errors import ConfigurationError

__all__ = ["Field", "Pooling", "covering", "exact_pooling"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """What the cells of a map see, along each axis; the first cell begins at the first pixel."""

    size: int = 1
    """Pixels that one cell sees."""
    stride: int = 1
    """Pixels between neighbouring cells."""

    def after(self, kernel: int, *, stride: int = 1, dilation: int = 1) -> "Field":
        """The field after one more convolution or pooling without padding."""
        return Field(size=self.size + (kernel - 1) * dilation * self.stride, stride=self.stride * stride)

    def cells(self, side: int) -> int:
        """Cells along a side of so many pixels.

        Raises:
            ConfigurationError: not one fits.
        """
        if side < self.size:
            raise ConfigurationError(f"a picture must be at least as large as one patch, {self.size} pixels; got {side}")
        return (side - self.size) // self.stride + 1


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Average pooling of a finer grid after which its cells see what the coarser grid's cells see, pixel for pixel."""

    kernel: int
    """Cells that are averaged along each axis."""
    stride: int
    """Cells between neighbouring averages."""

    def __call__(self, cells: Tensor) -> Tensor:
        """(B, h, w) → (B, h', w')."""
        return F.avg_pool2d(cells[:, None], self.kernel, self.stride)[:, 0]


def exact_pooling(fine: Field, coarse: Field) -> Pooling | None:
    """The pooling from a finer grid to a coarser one; None where no pooling makes both see the same pixels.

    The cells of an average over k cells see size + (k − 1)·stride pixels and lie p·stride apart: both must equal the coarser
    grid's.
    """
    beyond = coarse.size - fine.size
    if coarse.stride % fine.stride or beyond < 0 or beyond % fine.stride:
        return None
    return Pooling(kernel=beyond // fine.stride + 1, stride=coarse.stride // fine.stride)


def covering(cells: Tensor, field: Field, size: tuple[int, int]) -> Tensor:
    """(B, h, w) → one value for every stride × stride square of a picture of `size` pixels: that of the cell nearest to it.

    Stretched over the picture as they are, the cells of a large field would stand up to one stride beside what they saw.
    """
    for axis, side in zip((1, 2), size, strict=True):
        squares = torch.arange(-(-side // field.stride), device=cells.device)
        beside = (squares + 0.5) - field.size / field.stride / 2
        cells = cells.index_select(axis, beside.round().long().clamp(0, cells.shape[axis] - 1))
    return cells
