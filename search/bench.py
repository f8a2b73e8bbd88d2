"""Everything that a deployed file costs on this machine: latency, throughput, memory, energy."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paretolens.errors import ConfigurationError, IntegrityError
from paretolens.evaluators.energy import find_meters, metered
from paretolens.evaluators.latency import Backend, LatencySettings, measure_latency, running
from paretolens.evaluators.latency.device import cpu_name
from paretolens.evaluators.memory import peak_memory

__all__ = ["BenchRow", "Timing", "find_model", "measure_file", "time_litert"]

WARMUP = 10
FILES = (".onnx", ".tflite", ".engine")
_NO_LIMIT_S = 1e6


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One file at one batch size."""

    batch: int
    """Samples per run."""
    p50_ms: float
    """Median wall time of a run."""
    p90_ms: float
    """90th percentile."""
    p99_ms: float
    """99th percentile."""
    samples_per_s: float
    """Samples of a run over its median."""
    runs: int
    """Runs that counted."""
    model_mb: float | None
    """Peak memory that the model adds to its process, or takes of its GPU, in 10⁶ bytes; None where it is not measured."""
    process_mb: float | None
    """Peak memory of the whole process."""
    joules_per_sample: dict[str, float]
    """By meter, idle power and neighbours included."""
    energy_missing: dict[str, str]
    """Meters that could not be read, with the reason."""
    runtime: str
    """Library and version."""
    device: str
    """Processor or GPU."""
    copy_in_ms: float | None = None
    """Median time of the inputs' transfer to a GPU; None where there is none."""
    copy_out_ms: float | None = None
    """The same of the outputs' transfer to the host."""
    end_to_end_ms: float | None = None
    """Median time of a run with both transfers."""


def find_model(path: Path) -> Path:
    """The file to measure: of a bundle, whose checksums are verified, its model.

    Raises:
        IntegrityError: there is none, or the bundle was changed.
        ConfigurationError: a kind of file that is not known.
    """
    if path.is_dir():
        from paretolens.exporters.bundle import verify_bundle

        return path / str(verify_bundle(path)["model"]["file"])
    if not path.is_file():
        raise IntegrityError(f"model {path}: no such file or bundle; check the path")
    if path.suffix not in FILES:
        raise ConfigurationError(f"model {path}: must be a bundle, or a file that ends in {', '.join(FILES[:-1])} or {FILES[-1]}")
    return path


def measure_file(
    path: Path, *, batch: int, runs: int, threads: int, backend: Backend = Backend.AUTO, litert: Path | None = None
) -> BenchRow:
    """Time a file and find out what it needs.

    Args:
        path: `.onnx`, `.tflite`, or `.engine` on the GPU it was built for.
        batch: Samples per run; LiteRT files take 1.
        runs: Runs that count.
        threads: Threads of the runtime.
        backend: Of ONNX files.
        litert: Interpreter of LiteRT's environment, for `.tflite`.

    Raises:
        BackendError: the runtime is missing or does not take the file, or an engine is of another library version or GPU.
        ConfigurationError: the engine's profile has no such batch.
    """
    if litert is not None:
        timed = time_litert(litert, path, runs=runs, threads=threads)
        return _row(batch, timed, {}, {"all": "not metered in LiteRT's own process"})
    settings = LatencySettings(batch=batch, threads=threads, runs=runs, warmup=WARMUP, seconds=_NO_LIMIT_S)
    found = measure_latency(path, backend, settings)
    on_cpu = found.backend is Backend.ONNXRUNTIME
    peak = peak_memory(path, batch=batch, threads=threads) if on_cpu else None
    joules, missing, added = _energy(path, found.backend, settings)
    timed = Timing(
        percentiles=(found.p50_ms, found.p90_ms, found.p99_ms), runs=found.runs, runtime=found.runtime, device=found.device,
        memory=(peak.model_bytes, peak.process_bytes) if peak else None,
    )  # fmt: skip
    row = _row(batch, timed, joules, missing)
    row = row if on_cpu else replace(row, model_mb=added / 1e6)
    return replace(row, copy_in_ms=found.copy_in_ms, copy_out_ms=found.copy_out_ms, end_to_end_ms=found.end_to_end_ms)


def time_litert(python: Path, path: Path, *, runs: int, threads: int) -> "Timing":
    """Time a LiteRT file in its own environment, on random inputs.

    Raises:
        BackendError: the interpreter does not take the file.
    """
    from paretolens.exporters.litert_env import run_in

    job = {"do": "time", "model": str(path.resolve()), "runs": runs, "warmup": WARMUP, "threads": threads}
    answer = run_in(python, job)
    p50, p90, p99 = (float(value) / 1e6 for value in np.percentile(answer["wall_ns"], [50, 90, 99]))
    return Timing(
        percentiles=(p50, p90, p99), runs=runs, runtime=str(answer["runtime"]), device=cpu_name(),
        memory=(int(answer["model_bytes"]), int(answer["process_bytes"])),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What a runtime took."""

    percentiles: tuple[float, float, float]
    """p50, p90 and p99 of the wall time of a run, ms."""
    runs: int
    """Runs that counted."""
    memory: tuple[int, int] | None
    """Peak memory of the model and of its process, bytes."""
    runtime: str
    """Library and version."""
    device: str
    """Processor or GPU."""


def _energy(path: Path, backend: Backend, settings: LatencySettings) -> tuple[dict[str, float], dict[str, str], int]:
    """Joules per sample of runs of the model alone on what runs it, the meters that cannot be read, and the bytes that the model
    takes of a GPU's memory: engine, context and tensors of one batch; 0 on a processor.
    """
    before = _free_bytes(backend)
    with running(path, backend, settings) as timed:
        meters = find_meters(gpu=timed.gpu)
        count = settings.runs if any(meter.joules for meter in meters) else 0
        timed.repeat(1)  # what is only taken in the first run
        added = before - _free_bytes(backend)
        with metered(meters) as reading:
            timed.repeat(count)
    samples = max(1, count * settings.batch)
    return {name: joules / samples for name, joules in reading.joules.items()}, reading.missing, added


def _free_bytes(backend: Backend) -> int:
    """Free memory of the current GPU, with nothing kept for later; 0 where none is used."""
    if backend is Backend.ONNXRUNTIME:
        return 0
    import torch

    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info()[0])


def _row(batch: int, timed: Timing, joules: dict[str, float], missing: dict[str, str]) -> BenchRow:
    p50, p90, p99 = timed.percentiles
    model, process = timed.memory or (None, None)
    return BenchRow(
        batch=batch, p50_ms=p50, p90_ms=p90, p99_ms=p99, samples_per_s=batch / p50 * 1e3, runs=timed.runs,
        model_mb=None if model is None else model / 1e6, process_mb=None if process is None else process / 1e6,
        joules_per_sample=joules, energy_missing=missing, runtime=timed.runtime, device=timed.device,
    )  # fmt: skip
