"""Transfers between the host and a GPU, as an application does them: from and to page-locked memory, on the stream of the run."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = ["Copies"]


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Pairs of tensors of one run: the source and the target of each transfer."""

    inwards: tuple[tuple[Tensor, Tensor], ...]
    """Inputs, from the host."""
    outwards: tuple[tuple[Tensor, Tensor], ...]
    """Outputs, to the host."""

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], inputs: Collection[str]) -> Self:
        """For tensors on a device by name; their copies on the host are made here.

        Args:
            tensors: All that a run reads or writes.
            inputs: Names of those that it reads.
        """
        hosts = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda).copy_(tensor)
            for name, tensor in tensors.items()
        }
        return cls(
            inwards=tuple((hosts[name], tensor) for name, tensor in tensors.items() if name in inputs),
            outwards=tuple((tensor, hosts[name]) for name, tensor in tensors.items() if name not in inputs),
        )

    def bring(self) -> None:
        """Enqueue the inputs' transfer on the current stream."""
        for source, target in self.inwards:
            target.copy_(source, non_blocking=True)

    def fetch(self) -> None:
        """Enqueue the outputs' transfer on the current stream."""
        for source, target in self.outwards:
            target.copy_(source, non_blocking=True)
