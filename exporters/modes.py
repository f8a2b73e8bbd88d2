"""States of torch that a measurement needs for a while, restored after."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["evaluating", "without_onednn"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode is restored after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def without_onednn() -> Iterator[None]:
    """Torch's own CPU kernels instead of oneDNN's: sums in another order, and recurrent layers in single steps."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration")  # the switch also sets an option for Intel GPUs
        with torch.backends.mkldnn.flags(enabled=False):
            yield
