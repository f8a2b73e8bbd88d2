"""Where latencies are measured: in this process, or in the measuring slot of a cluster."""

from pathlib import Path
from typing import Protocol

from paretolens.errors import BackendError
from paretolens.evaluators.latency import (
    Backend,
    Calibration,
    LatencyResult,
    LatencySettings,
    calibrate,
    check_calibration,
    measure_latency,
    probe,
)
from paretolens.search.gate import OPEN, Gate
from paretolens.search.settings import EngineSettings

__all__ = ["Bench", "Here", "bench_of", "measuring_device"]


class Bench(Protocol):
    """A device to time artefacts on, one at a time."""

    def device(self, backend: Backend) -> dict[str, str]:
        """The `backend` (never auto) and `device` that latencies are measured with.

        Raises:
            BackendError: the back end is missing there, or has nothing to run on.
        """

    def calibrate(self) -> Calibration:
        """The unit of time of its machine."""

    def check_calibration(self, calibration: Calibration) -> None:
        """Refuse a unit of another machine.

        Raises:
            ConfigurationError: it was taken with another processor, runtime or calibration model.
        """

    def measure(
        self, artefact: Path, backend: Backend, settings: LatencySettings, calibration: Calibration | None
    ) -> LatencyResult:
        """Time an ONNX file; see `measure_latency`."""


class Here:
    """This process.

    Args:
        gate: of the device that is timed.
    """

    def __init__(self, gate: Gate = OPEN) -> None:
        self._gate = gate

    def device(self, backend: Backend) -> dict[str, str]:
        """See `measuring_device`."""
        return measuring_device(backend)

    def calibrate(self) -> Calibration:
        """The unit of time of this machine."""
        return calibrate()

    def check_calibration(self, calibration: Calibration) -> None:
        """Refuse a unit of another machine."""
        check_calibration(calibration)

    def measure(
        self, artefact: Path, backend: Backend, settings: LatencySettings, calibration: Calibration | None
    ) -> LatencyResult:
        """Time an ONNX file in this thread, once nothing disturbs the clock."""
        with self._gate.alone():
            return measure_latency(artefact, backend, settings, calibration=calibration)


def bench_of(search: EngineSettings, gate: Gate = OPEN) -> Bench:
    """Where a search measures: the slot of `latency_resource`, or this process without one, through the `gate` of its device."""
    if search.latency_resource is None:
        return Here(gate)
    from paretolens.search.cluster.slot import SlotBench

    return SlotBench(search.latency_resource, limit_s=search.latency_timeout_s)


def measuring_device(wanted: Backend) -> dict[str, str]:
    """The `backend` and `device` that latencies are measured with in this process.

    Raises:
        BackendError: the back end is missing, or has nothing to run on.
    """
    found = probe()
    entry = found.auto if wanted is Backend.AUTO else found.of(wanted)
    if not entry.usable:
        raise BackendError(f"latency.backend {wanted}: {entry.reason}; choose another, or auto")
    on_gpu = entry.backend is Backend.TENSORRT
    return {"backend": str(entry.backend), "device": found.gpus[0] if on_gpu else found.cpu}
