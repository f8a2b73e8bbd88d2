"""States of torch and of the process that a measurement or an export needs for a while, restored after."""

import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from torch import nn

from paretolens.models.modes import standing_still

__all__ = ["evaluating", "uninterrupted", "without_onednn"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode is restored after."""
    with standing_still(model), torch.no_grad():
        yield


@contextmanager
def without_onednn() -> Iterator[None]:
    """Torch's own CPU kernels instead of oneDNN's: sums in another order, and recurrent layers in single steps."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration")  # the switch also sets an option for Intel GPUs
        with torch.backends.mkldnn.flags(enabled=False):
            yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Signals that Python handles and that come meanwhile are handled afterwards; for work of seconds.

    When one ends torch's export, the graph as far as it was written is printed: thousands of lines.
    """
    came: list[tuple[int, FrameType | None]] = []
    before: dict[int, Callable[[int, FrameType | None], object]] = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
        before = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, frame in came:
            before[number](number, frame)
