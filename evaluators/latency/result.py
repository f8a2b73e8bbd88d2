"""What a latency measurement gives."""

from dataclasses import asdict, dataclass
from typing import Any

from paretolens.evaluators.latency.settings import Backend

__all__ = ["LatencyResult"]


@dataclass(frozen=True, kw_only=True)
class LatencyResult:
    """Latency of one artefact on one device; lower is better. Times in milliseconds for one run of `batch` samples."""

    latency_ms: float
    """The objective. On a GPU the median by CUDA events; on a CPU thread CPU time scaled by the calibration model (`timing`)."""
    clock: str
    """What `latency_ms` was counted with: "thread CPU time", "wall time" or "CUDA events"."""
    p50_ms: float
    """Median wall time: what a user waits, and what neighbours disturb."""
    p90_ms: float
    """90th percentile of the wall time."""
    p99_ms: float
    """99th percentile of the wall time; with few runs about the slowest one."""
    cpu_min_ms: float | None
    """Smallest thread CPU time of a run; None on a GPU or with several threads."""
    calibration_ms: float | None
    """The calibration model's time in the same rounds; None on a GPU."""
    reference_ms: float | None
    """The calibration model's time that `latency_ms` is scaled to; None if it was not scaled."""
    runs: int
    """Runs that counted."""
    warmup: int
    """Runs before them."""
    batch: int
    """Samples per run."""
    threads: int
    """Threads within an operator."""
    backend: Backend
    """The back end that was used; never AUTO."""
    reason: str
    """Why it was this back end."""
    runtime: str
    """Library and version."""
    device: str
    """Name of the processor or GPU."""
    precision: str
    """`fp32`, `fp16` or `int8`."""
    cuda_graph: bool
    """Whether the runs were replays of a CUDA graph."""
    note: str
    """One line on what the reader should know, for instance why no CUDA graph was used; empty if nothing."""
    load_average: float | None
    """Load of the last minute when the measurement began; None where the system does not tell."""
    context_switches: int | None
    """Times the measuring thread was put aside for another one; None where the system does not tell."""

    copy_in_ms: float | None = None
    """Median time of the inputs' transfer to the GPU, which `latency_ms` leaves out; None where it was not measured."""
    copy_out_ms: float | None = None
    """The same of the outputs' transfer to the host."""
    end_to_end_ms: float | None = None
    """Median time of both transfers and the run between them, by CUDA events."""

    def to_metrics(self) -> dict[str, float]:
        """The numbers by name, those that are None left out."""
        numbers = {
            "latency_ms": self.latency_ms,
            "latency_p50_ms": self.p50_ms,
            "latency_p90_ms": self.p90_ms,
            "latency_p99_ms": self.p99_ms,
            "latency_cpu_min_ms": self.cpu_min_ms,
            "latency_calibration_ms": self.calibration_ms,
            "latency_runs": self.runs,
            "latency_load_average": self.load_average,
            "latency_context_switches": self.context_switches,
            "latency_copy_in_ms": self.copy_in_ms,
            "latency_copy_out_ms": self.copy_out_ms,
            "latency_end_to_end_ms": self.end_to_end_ms,
        }
        return {name: float(value) for name, value in numbers.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)
