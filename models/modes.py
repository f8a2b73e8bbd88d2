"""Evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["standing_still"]


@contextmanager
def standing_still(model: nn.Module) -> Iterator[None]:
    """No dropout and fixed batch norms, though parameters still learn; every module's own mode is restored after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
