"""Where networks are trained and explained: on this process's GPU, if it has one, else on the CPU.

A network is moved there for the work and back afterwards: surgery, saving and exporting happen on the CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import torch
from torch import nn

from paretolens.errors import ConfigurationError

__all__ = ["Device", "device_for", "moved"]


class Device(StrEnum):
    """What a configuration may ask for."""

    AUTO = "auto"  # the GPU that the process sees, else the CPU
    CPU = "cpu"
    CUDA = "cuda"


def device_for(wanted: Device) -> torch.device:
    """The device of this process. Ray shows a worker only the GPUs that it was given: none, if it was given none.

    Raises:
        ConfigurationError: a GPU is asked for and torch sees none.
    """
    seen = torch.cuda.is_available()
    if wanted is Device.CUDA and not seen:
        raise ConfigurationError(
            "device is cuda, but torch sees no GPU in this process; set device to auto or cpu, or give workers a GPU with "
            "search.gpus_per_worker=1"
        )
    return torch.device("cuda" if seen and wanted is not Device.CPU else "cpu")


@contextmanager
def moved(device: torch.device, *models: nn.Module) -> Iterator[None]:
    """The models on a device; where they were before afterwards, also after an error."""
    before = [next(model.parameters()).device for model in models]
    try:
        for model in models:
            model.to(device)
        yield
    finally:
        for model, place in zip(models, before, strict=True):
            model.to(place)
