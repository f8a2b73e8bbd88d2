"""What a latency measurement may vary."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Gt

__all__ = ["Backend", "LatencySettings"]


class Backend(StrEnum):
    """The runtime that is timed."""

    AUTO = "auto"  # TensorRT where a GPU and the library are, else ONNX Runtime on the CPU
    TENSORRT = "tensorrt"
    ONNXRUNTIME = "onnxruntime"
    TORCH = "torch"


@dataclass(frozen=True, kw_only=True)
class LatencySettings:
    """How latency is measured. A study never mixes settings: they are part of its identity."""

    batch: Annotated[int, Ge(1)] = 1
    """Samples per run."""
    threads: Annotated[int, Ge(1)] = 1
    """Threads within an operator. Thread CPU time is only defined for one; with more, wall time is used, which load disturbs."""
    warmup: Annotated[int, Ge(0)] = 10
    """Runs before the first one that counts."""
    runs: Annotated[int, Ge(1)] = 300
    """Runs that count, unless `seconds` are over before."""
    min_runs: Annotated[int, Ge(1)] = 20
    """Runs that count even when `seconds` are over."""
    seconds: Annotated[float, Gt(0)] = 4.0
    """Time limit of the runs that count."""
    tensorrt_workspace_mb: Annotated[float, Gt(0)] = 1024.0
    """Memory that TensorRT's tactics may use, in MiB."""
    tensorrt_timing_cache: str | None = None
    """File in which TensorRT keeps the tactics it measured, so that engines of like layers are built faster; null = none."""
