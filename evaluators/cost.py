"""What a model costs to hold and to run, apart from time: parameters, multiply-accumulates, bytes on disk and in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.evaluators.memory import PeakMemory, peak_memory
from paretolens.exporters.modes import evaluating, without_onednn

__all__ = ["Cost", "MacCounter", "PeakMemory", "count_cost", "peak_memory"]


class MacCounter(StrEnum):
    """Who counts the multiply-accumulates."""

    TORCH = "torch.utils.flop_counter"  # sees every product, also within attention
    FVCORE = "fvcore"  # what papers often report; misses attention


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Static cost of a model."""

    parameters: int
    """Trainable and frozen parameters, shared ones counted once."""
    macs: int
    """Multiply-accumulates of one sample."""
    counter: MacCounter
    """Who counted them."""


def count_cost(model: nn.Module, inputs: Sequence[Tensor], *, counter: MacCounter = MacCounter.TORCH) -> Cost:
    """Count parameters and multiply-accumulates.

    Args:
        model: Run once in evaluation mode; its own mode is left as it was.
        inputs: One tensor per input, any batch size B ≥ 1; the count is divided by B.
        counter: TORCH counts convolutions and all matrix products (FLOPs / 2), which equals hand counts.

    Raises:
        ConfigurationError: no inputs were given.
    """
    if not inputs or len(inputs[0]) < 1:
        raise ConfigurationError("counting needs a batch of at least one sample, got none")
    count = _torch_macs if counter is MacCounter.TORCH else _fvcore_macs
    with evaluating(model):
        macs = count(model, inputs) // len(inputs[0])
    return Cost(parameters=sum(value.numel() for value in model.parameters()), macs=macs, counter=counter)


def _torch_macs(model: nn.Module, inputs: Sequence[Tensor]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused encoder layer is one operation that no counter looks into
    try:
        with without_onednn(), FlopCounterMode(display=False) as mode:  # oneDNN's LSTM is one operation, too
            model(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(mode.get_total_flops()) // 2


def _fvcore_macs(model: nn.Module, inputs: Sequence[Tensor]) -> int:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, tuple(inputs)).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(analysis.total())
