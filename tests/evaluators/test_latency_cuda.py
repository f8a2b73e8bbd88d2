"""Timing on a GPU: the order of what is enqueued and the arithmetic, on a stand-in for CUDA whose clock the work moves."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paretolens.evaluators.latency import Backend, LatencySettings, cuda, measure_latency
from paretolens.evaluators.latency.copies import Copies
from paretolens.evaluators.latency.cuda import time_on_gpu


class Device:
    """A GPU that does each thing as it is enqueued, in milliseconds of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.streams: list[object] = []
        self.Stream = lambda: SimpleNamespace(synchronize=lambda: None)
        self.CUDAGraph = object
        self.synchronize = lambda: None
        self.Event = lambda enable_timing: Event(self)

    def spend(self, milliseconds: float) -> None:
        self.now += milliseconds

    @contextmanager
    def stream(self, stream: object) -> Iterator[None]:
        yield

    @contextmanager
    def graph(self, graph: object, stream: object) -> Iterator[None]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")
        yield


class Event:
    def __init__(self, device: Device) -> None:
        self.device, self.at = device, 0.0

    def record(self, stream: object) -> None:
        self.at = self.device.now

    def synchronize(self) -> None:
        """Everything is done at once."""

    def elapsed_time(self, other: "Event") -> float:
        return other.at - self.at


class Transfers(Copies):
    """Transfers that take .5 and .25 ms."""

    device: Any = None

    def bring(self) -> None:
        self.device.spend(0.5)

    def fetch(self) -> None:
        self.device.spend(0.25)


def test_runs_are_timed_without_transfers_and_transfers_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    monkeypatch.setattr(cuda, "torch", SimpleNamespace(cuda=device))
    monkeypatch.setattr(Transfers, "device", device)
    settings = LatencySettings(runs=12, min_runs=12, warmup=0)
    found = time_on_gpu(lambda: device.spend(2.0), settings, Transfers(inwards=(), outwards=()))
    assert (found.graph, found.note) == (False, "no CUDA graph: operation not permitted when stream is capturing")
    assert found.events.tolist() == pytest.approx([2.0] * 12)
    assert found.copy_in is not None and found.copy_out is not None and found.whole is not None
    assert found.copy_in.tolist() == pytest.approx([0.5] * 12)
    assert found.copy_out.tolist() == pytest.approx([0.25] * 12)
    assert found.whole.tolist() == pytest.approx([2.75] * 12)
    assert time_on_gpu(lambda: device.spend(2.0), settings).whole is None


def test_transfers_move_inputs_in_and_outputs_out() -> None:
    tensors = {"x": torch.ones(2, 3), "mask": torch.zeros(2, dtype=torch.bool), "y": torch.zeros(2)}
    copies = Copies.of(tensors, ("x", "mask"))
    tensors["x"].zero_()
    tensors["y"].fill_(7.0)
    copies.bring()
    copies.fetch()
    assert tensors["x"].tolist() == torch.ones(2, 3).tolist()
    assert [target.tolist() for _, target in copies.outwards] == [[7.0, 7.0]]
    assert len(copies.inwards) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_an_engine_has_all_four_times(tmp_path: Any) -> None:
    from paretolens.evaluators.latency.calibration import calibration_model

    (tmp_path / "model.onnx").write_bytes(calibration_model())
    found = measure_latency(tmp_path / "model.onnx", Backend.TENSORRT, LatencySettings(runs=20, warmup=3))
    assert found.copy_in_ms is not None and found.copy_out_ms is not None and found.end_to_end_ms is not None
    assert found.copy_in_ms > 0
    assert found.copy_out_ms > 0
    assert found.end_to_end_ms > found.latency_ms
