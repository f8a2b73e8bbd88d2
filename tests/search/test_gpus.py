"""Sharing out GPUs, which needs none: the arithmetic, what is refused, and what workers see."""

import pytest

from paretolens.errors import BackendError, ConfigurationError
from paretolens.evaluators.latency import Backend
from paretolens.search.gpus import left_idle, shared_out, wanted_gpus
from paretolens.search.settings import EngineSettings
from paretolens.trainers.device import Device


def share(workers: int, gpus: int, **settings: object) -> float | None:
    search = EngineSettings(workers=workers, **settings)  # type: ignore[arg-type]  # settings of several types
    return shared_out(search, device=Device.AUTO, backend=Backend.ONNXRUNTIME, gpus=gpus).gpus_per_worker


@pytest.mark.parametrize(
    ("workers", "gpus", "expected"),
    [(2, 0, 0.0), (1, 1, 1.0), (2, 1, 0.5), (3, 1, 0.3333), (3, 2, 0.5), (2, 8, 1.0), (7, 1, 0.1428)],
)
def test_what_is_left_open_shares_the_machines_gpus_evenly_and_all_workers_fit(workers: int, gpus: int, expected: float) -> None:
    assert share(workers, gpus) == expected
    assert wanted_gpus(workers, expected) <= gpus


def test_a_cluster_gives_no_gpu_that_is_not_asked_for_and_is_asked_for_room_itself() -> None:
    assert share(8, 4, address="auto") == 0
    assert share(8, 0, address="auto", gpus_per_worker=1.0) == 1


@pytest.mark.parametrize(
    ("workers", "per_worker", "expected"), [(8, 1.0, 8), (2, 2.0, 4), (2, 0.6, 2), (5, 0.4, 3), (3, 0.3333, 1), (4, 0.0, 0)]
)
def test_a_share_lies_on_one_gpu(workers: int, per_worker: float, expected: int) -> None:
    assert wanted_gpus(workers, per_worker) == expected
    assert share(workers, expected, gpus_per_worker=per_worker) == per_worker
    if expected > 1:
        with pytest.raises(
            BackendError, match=rf"take {expected} GPUs at once, and torch sees {expected - 1} here; set search.workers="
        ):
            share(workers, expected - 1, gpus_per_worker=per_worker)


def test_more_gpus_than_there_are_are_refused_with_what_would_fit() -> None:
    with pytest.raises(
        BackendError, match=r"take 8 GPUs at once, and torch sees 1 here; set search.workers=1, or search.gpus_per_worker=0.125"
    ):
        share(8, 1, gpus_per_worker=1.0)
    with pytest.raises(
        BackendError, match=r"torch sees none here; set search.gpus_per_worker=0 to train on the CPU, or name a cluster"
    ):
        share(8, 0, gpus_per_worker=1.0)
    with pytest.raises(
        ConfigurationError, match=r"search.gpus_per_worker is 1.5: a worker takes a part of one GPU, or whole ones"
    ):
        EngineSettings(gpus_per_worker=1.5)


def test_gpus_that_a_stored_0_leaves_idle_are_told() -> None:
    old = EngineSettings(gpus_per_worker=0.0)
    told = left_idle(old, device=Device.AUTO, gpus=2)
    assert told == (
        "search.gpus_per_worker is 0: students are trained on the CPU, though torch sees 2 GPUs here; "
        "search.gpus_per_worker=null shares them out"
    )
    assert left_idle(old, device=Device.AUTO, gpus=0) is None
    assert left_idle(old, device=Device.CPU, gpus=2) is None
    assert left_idle(EngineSettings(), device=Device.AUTO, gpus=2) is None
    cluster = EngineSettings(gpus_per_worker=0.0, address="auto")
    assert left_idle(cluster, device=Device.AUTO, gpus=2) is None


def test_a_worker_without_a_gpu_is_not_asked_to_use_one() -> None:
    none = EngineSettings(gpus_per_worker=0.0)
    with pytest.raises(ConfigurationError, match=r"gpus_per_worker is 0, but device is cuda.*set device to auto or cpu"):
        shared_out(none, device=Device.CUDA, backend=Backend.ONNXRUNTIME, gpus=1)
    with pytest.raises(
        ConfigurationError, match=r"gpus_per_worker is 0, but each worker times its students with tensorrt.*onnxruntime"
    ):
        shared_out(none, device=Device.AUTO, backend=Backend.TENSORRT, gpus=1)
    slot = EngineSettings(gpus_per_worker=0.0, address="auto", latency_resource="latency:h200")
    assert shared_out(slot, device=Device.AUTO, backend=Backend.TENSORRT, gpus=0) == slot
    assert shared_out(EngineSettings(), device=Device.CPU, backend=Backend.TENSORRT, gpus=1).gpus_per_worker == 0.5  # to time on
    assert shared_out(EngineSettings(), device=Device.CPU, backend=Backend.ONNXRUNTIME, gpus=1).gpus_per_worker == 0
