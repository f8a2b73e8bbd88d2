"""TensorRT engines of a study's files: settings of this machine, and runs of any number of samples."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from paretolens.errors import BackendError
from paretolens.exporters.tensorrt import Engine, EngineSettings
from paretolens.search.cascade import Run

__all__ = ["engine_run", "in_batches", "with_timing_cache"]


def with_timing_cache(settings: EngineSettings, cache: Path, *, wanted_by: str) -> EngineSettings:
    """The settings with the workspace's timing cache for this library and GPU, unless they name one.

    Args:
        settings: Of the engines.
        cache: Of the workspace.
        wanted_by: The flag that asked for TensorRT, for the message.

    Raises:
        BackendError: there is no GPU, or no TensorRT.
    """
    from paretolens.exporters.tensorrt import load_flavour

    if not torch.cuda.is_available():
        raise BackendError(f"{wanted_by}: an engine is run on an NVIDIA GPU, torch finds none: leave it out here")
    flavour = load_flavour(settings.flavour)
    if settings.timing_cache is not None:
        return settings
    name = re.sub(r"[^\w.-]+", "-", f"{flavour.name}-{flavour.version}-{torch.cuda.get_device_name()}.timing")
    return replace(settings, timing_cache=cache / "tensorrt" / name)


def engine_run(engine: Engine) -> Run:
    """Runs of an engine on the current GPU, by the largest batch of its profile.

    Raises:
        BackendError: it does not load here.
    """
    from paretolens.exporters.tensorrt_runner import EngineRunner

    most = engine.settings.max_batch
    return in_batches(EngineRunner(engine, batch=most).run, most)


def in_batches(run: Run, size: int) -> Run:
    """Runs any number of samples by batches of one size; the last one is filled up by going round."""

    def whole(inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        count = len(next(iter(inputs.values())))
        rows = [np.resize(np.arange(at, min(at + size, count)), size) for at in range(0, count, size)]
        parts = [run({name: value[row] for name, value in inputs.items()}) for row in rows]
        return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}

    return whole
