"""How a search shares the GPUs of this machine out among its workers. Ray shows each worker its own, and none to one without."""

import math
from dataclasses import replace

from paretolens.errors import BackendError, ConfigurationError
from paretolens.evaluators.latency import Backend
from paretolens.search.settings import EngineSettings
from paretolens.trainers.device import Device

__all__ = ["gpus_here", "left_idle", "shared_out", "wanted_gpus"]

_SHARES = 10_000
"""Ray counts shares of a GPU in ten-thousandths."""


def gpus_here() -> int:
    """GPUs that torch sees in this process."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def wanted_gpus(workers: int, share: float) -> int:
    """GPUs that so many workers take when all run: a share lies on one GPU, or is a number of whole ones."""
    if share <= 0:
        return 0
    return workers * math.ceil(share) if share >= 1 else math.ceil(workers / _per_gpu(share))


def shared_out(search: EngineSettings, *, device: Device, backend: Backend, gpus: int) -> EngineSettings:
    """The settings with `gpus_per_worker` settled: left open, it shares this machine's GPUs out evenly, and is 0 on a cluster.

    Args:
        search: as configured.
        device: where students are to be trained.
        backend: what latencies are timed with, never auto.
        gpus: what this machine has.

    Raises:
        BackendError: the workers of a private Ray want more GPUs than there are.
        ConfigurationError: a worker without a GPU would have to train or time on one.
    """
    timed_here = backend is Backend.TENSORRT and search.latency_resource is None
    share = search.gpus_per_worker
    if share is None:
        useful = search.address is None and (device is not Device.CPU or timed_here)
        share = _even(search.workers, gpus) if useful and gpus else 0.0
    settled = replace(search, gpus_per_worker=share)
    if share <= 0 and (device is Device.CUDA or timed_here):
        why = "device is cuda" if device is Device.CUDA else f"each worker times its students with {backend}"
        raise ConfigurationError(
            f"search.gpus_per_worker is {share:g}, but {why}: give workers a GPU, such as search.gpus_per_worker=1, or set "
            + ("device to auto or cpu" if device is Device.CUDA else "latency.backend=onnxruntime")
        )
    if search.address is None and wanted_gpus(search.workers, share) > gpus:
        raise BackendError(_too_few(search.workers, share, gpus))
    return settled


def left_idle(search: EngineSettings, *, device: Device, gpus: int) -> str | None:
    """One line where a set 0 keeps workers off GPUs on which the device `auto` would train; None where nothing is to be said.

    Before shares were settled, 0 was the default and showed workers all GPUs: studies of that time hold it.
    """
    if search.address is not None or search.gpus_per_worker != 0 or device is not Device.AUTO or not gpus:
        return None
    return (
        f"search.gpus_per_worker is 0: students are trained on the CPU, though torch sees {gpus} GPU{'s' if gpus > 1 else ''} "
        "here; search.gpus_per_worker=null shares them out"
    )


def _per_gpu(share: float) -> int:
    """Workers with a share below 1 that one GPU takes."""
    return int(_SHARES // math.floor(share * _SHARES + 0.5)) if share * _SHARES >= 1 else _SHARES


def _even(workers: int, gpus: int) -> float:
    if workers <= gpus:
        return 1.0
    return math.floor(_SHARES / math.ceil(workers / gpus)) / _SHARES


def _too_few(workers: int, share: float, gpus: int) -> str:
    wanted = f"search.workers={workers} with search.gpus_per_worker={share:g} take {wanted_gpus(workers, share)} GPUs at once"
    if not gpus:
        return (
            f"{wanted}, and torch sees none here; set search.gpus_per_worker=0 to train on the CPU, or name a cluster: --address"
        )
    fitting = gpus // math.ceil(share) if share >= 1 else gpus * _per_gpu(share)
    fewer = f"search.workers={fitting}, or " if fitting else ""
    return (
        f"{wanted}, and torch sees {gpus} here; set {fewer}search.gpus_per_worker={_even(workers, gpus):g}, or name a cluster: "
        "--address"
    )
