"""One interface to measure latency, whatever the runtime."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError
from paretolens.evaluators.latency.calibration import Calibration, calibration_digest, calibration_session
from paretolens.evaluators.latency.cuda import time_on_gpu
from paretolens.evaluators.latency.device import cpu_name, load_average, switches
from paretolens.evaluators.latency.probe import probe
from paretolens.evaluators.latency.result import LatencyResult
from paretolens.evaluators.latency.runtimes import ENGINE, Timed, onnxruntime_run, tensorrt_run, torch_run
from paretolens.evaluators.latency.settings import Backend, LatencySettings
from paretolens.evaluators.latency.timing import Clocks, fastest_runs, interleave, scaled_latency

__all__ = ["calibrate", "check_calibration", "measure_latency", "running"]

SETTINGS = LatencySettings()
CLOCKS = Clocks()
CALIBRATION_RUNS = 300


def measure_latency(
    artefact: Path | nn.Module,
    backend: Backend = Backend.AUTO,
    settings: LatencySettings = SETTINGS,
    *,
    example: Sequence[Tensor] | None = None,
    calibration: Calibration | None = None,
    clocks: Clocks = CLOCKS,
) -> LatencyResult:
    """Time an artefact on this machine. Belongs to one thread at a time, and to one measurement per device.

    Args:
        artefact: An ONNX file, a built TensorRT engine (.engine; run by TensorRT alone), or a torch module (then TORCH and AUTO
            are the only back ends).
        backend: The runtime. AUTO takes TensorRT where a GPU and the library are, else ONNX Runtime on the CPU.
        settings: Batch, threads, numbers of runs.
        example: Inputs of a torch module, one tensor each; the first sample is used.
        calibration: The study's reference, from `calibrate`. Without it `latency_ms` is not scaled.
        clocks: Where CPU and wall time come from.

    Raises:
        BackendError: the back end is not usable here (the reason is given), or cannot run the model.
        ConfigurationError: the reference was taken with another device, runtime or calibration model.
        IntegrityError: the file is missing or damaged.
    """
    chosen, reason = _choose(artefact, backend)
    load = load_average()
    with running(artefact, chosen, settings, example) as timed:
        if calibration is not None and not timed.on_gpu:
            check_calibration(calibration)
        before = switches()
        measured = _on_gpu(timed, settings) if timed.on_gpu else _on_cpu(timed, settings, calibration, clocks)
        after = switches()
        return LatencyResult(
            **measured,
            warmup=settings.warmup,
            batch=settings.batch,
            threads=settings.threads,
            backend=chosen,
            reason=reason,
            runtime=timed.runtime,
            device=timed.device,
            precision=timed.precision,
            load_average=load,
            context_switches=after - before if after is not None and before is not None else None,
        )


def calibrate(clocks: Clocks = CLOCKS) -> Calibration:
    """Time the calibration model on this machine, alone, in about half a second; done once when a study begins."""
    import onnxruntime

    from paretolens.exporters.probe_inputs import probe_inputs

    session = calibration_session()
    inputs = probe_inputs(session)
    settings = LatencySettings(runs=CALIBRATION_RUNS, warmup=20)
    samples = interleave(lambda: session.run(None, inputs), lambda: None, settings, clocks)
    return Calibration(
        reference_ms=fastest_runs(samples.cpu if Clocks.cpu_is_fine() else samples.wall),
        runs=len(samples.cpu),
        device=cpu_name(),
        runtime=f"onnxruntime {onnxruntime.__version__}",
        model_sha256=calibration_digest(),
    )


def _choose(artefact: Path | nn.Module, backend: Backend) -> tuple[Backend, str]:
    """The back end that will be used and why."""
    if isinstance(artefact, nn.Module):
        if backend not in (Backend.AUTO, Backend.TORCH):
            raise BackendError(f"{backend} times an ONNX file, got a torch module: export it first, or use the torch back end")
        return Backend.TORCH, "a torch module is timed with torch"
    if artefact.suffix == ENGINE:
        return _of_engine(artefact, backend)
    if backend is Backend.TORCH:
        raise BackendError(f"torch times a module, got the file {artefact.name}: use onnxruntime, tensorrt or auto")
    found = probe()
    if backend is Backend.AUTO:
        entry = found.auto
        tensorrt = found.of(Backend.TENSORRT)
        why = "TensorRT is usable" if tensorrt.usable else f"TensorRT is not usable ({tensorrt.reason})"
        if not entry.usable:
            raise BackendError(f"no runtime is usable for {artefact.name}: {why}; ONNX Runtime {entry.reason}")
        return entry.backend, f"auto: {why}"
    entry = found.of(backend)
    if not entry.usable:
        raise BackendError(f"the back end {backend} is not usable here: {entry.reason}; use auto or onnxruntime")
    return backend, "asked for"


def _of_engine(path: Path, backend: Backend) -> tuple[Backend, str]:
    """TensorRT, which alone runs its engines."""
    if backend not in (Backend.AUTO, Backend.TENSORRT):
        raise BackendError(f"engine {path}: TensorRT alone runs it, got the back end {backend}: use auto or tensorrt")
    entry = probe().of(Backend.TENSORRT)
    if not entry.usable:
        raise BackendError(f"engine {path}: cannot run here: {entry.reason}; run it on the device it was built for")
    return Backend.TENSORRT, "an engine"


def running(
    artefact: Path | nn.Module, backend: Backend, settings: LatencySettings, example: Sequence[Tensor] | None = None
) -> AbstractContextManager[Timed]:
    """An artefact that is ready to run within the block, on a back end that is usable here and not AUTO; as `measure_latency`."""
    if isinstance(artefact, nn.Module):
        return torch_run(artefact, example, settings)
    return tensorrt_run(artefact, settings) if backend is Backend.TENSORRT else onnxruntime_run(artefact, settings)


def check_calibration(calibration: Calibration) -> None:
    """Refuse a reference that this machine cannot be compared with.

    Raises:
        ConfigurationError: it was taken with another processor, runtime or calibration model.
    """
    import onnxruntime

    now = {"device": cpu_name(), "runtime": f"onnxruntime {onnxruntime.__version__}", "model_sha256": calibration_digest()}
    for name, value in now.items():
        before = getattr(calibration, name)
        if before != value:
            raise ConfigurationError(
                f"latencies of one study must come from one machine: the {name} was {before}, now it is {value}; "
                "use that machine, or start another study"
            )


def _on_cpu(timed: Timed, settings: LatencySettings, calibration: Calibration | None, clocks: Clocks) -> dict[str, Any]:
    """The measured fields of a result."""
    from paretolens.exporters.probe_inputs import probe_inputs

    session = calibration_session()
    inputs = probe_inputs(session)
    samples = interleave(timed.run, lambda: session.run(None, inputs), settings, clocks)
    by_cpu = settings.threads == 1 and Clocks.cpu_is_fine()
    candidate_ms = fastest_runs(samples.cpu if by_cpu else samples.wall)
    calibration_ms = fastest_runs(samples.calibration_cpu if by_cpu else samples.calibration_wall)
    reference_ms = calibration.reference_ms if calibration is not None else None
    return _percentiles(samples.wall) | {
        "latency_ms": scaled_latency(candidate_ms, calibration_ms, reference_ms),
        "clock": "thread CPU time" if by_cpu else "wall time",
        "cpu_min_ms": float(samples.cpu.min()) if by_cpu else None,
        "calibration_ms": calibration_ms,
        "reference_ms": reference_ms,
        "cuda_graph": False,
        "note": "" if by_cpu else _why_wall(settings),
    }


def _on_gpu(timed: Timed, settings: LatencySettings) -> dict[str, Any]:
    """The measured fields of a result."""
    samples = time_on_gpu(timed.run, settings, timed.copies)
    return _percentiles(samples.wall) | {
        "latency_ms": float(np.median(samples.events)),
        "clock": "CUDA events",
        "cpu_min_ms": None,
        "calibration_ms": None,
        "reference_ms": None,
        "cuda_graph": samples.graph,
        "note": samples.note,
        "copy_in_ms": _median(samples.copy_in),
        "copy_out_ms": _median(samples.copy_out),
        "end_to_end_ms": _median(samples.whole),
    }


def _median(values: NDArray[np.float64] | None) -> float | None:
    return None if values is None else float(np.median(values))


def _percentiles(wall: NDArray[np.float64]) -> dict[str, Any]:
    p50, p90, p99 = (float(value) for value in np.percentile(wall, [50, 90, 99]))
    return {"p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "runs": len(wall)}


def _why_wall(settings: LatencySettings) -> str:
    if settings.threads > 1:
        return f"wall time, since thread CPU time does not cover {settings.threads} threads: neighbours disturb it"
    return "wall time, since this system counts thread CPU time too coarsely: neighbours disturb it"
