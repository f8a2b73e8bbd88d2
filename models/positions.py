"""Position encodings: learned, or the fixed sinusoids of Vaswani et al. 2017, section 3.5."""

import math
from enum import StrEnum

import torch
from torch import Tensor, nn

__all__ = ["Positions", "PositionsKind", "sinusoids"]


class PositionsKind(StrEnum):
    """How a sequence tells its positions apart."""

    LEARNED = "learned"  # length × width parameters
    SINUSOIDAL = "sinusoidal"  # a buffer, no parameters
    NONE = "none"


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width): sin at the even, cos at the odd columns, wavelengths from 2π to 10000·2π."""
    position = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    table = torch.zeros(length, width)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)[:, : width // 2]
    return table


class Positions(nn.Module):
    """Adds the encoding of each position; sequences may be shorter than `length`."""

    def __init__(self, *, kind: PositionsKind, length: int, width: int) -> None:
        super().__init__()
        self.table: Tensor | nn.Parameter | None
        if kind is PositionsKind.LEARNED:
            self.table = nn.Parameter(torch.randn(1, length, width) * 0.02)
        elif kind is PositionsKind.SINUSOIDAL:
            self.register_buffer("table", sinusoids(length, width)[None], persistent=False)
        else:
            self.table = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) → (B, N, width), N ≤ length."""
        return x if self.table is None else x + self.table[:, : x.shape[1]]
