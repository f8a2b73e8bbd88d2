"""Timing on a GPU: CUDA events on a private stream, replays of a CUDA graph where the work can be captured."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paretolens.evaluators.latency.settings import LatencySettings

__all__ = ["CudaSamples", "time_on_gpu"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CudaSamples:
    """Counted runs in milliseconds."""

    events: Floats
    """Time between two CUDA events around each run: the GPU's own time, without transfers."""
    wall: Floats
    """Wall time from the launch until the GPU is done."""
    graph: bool
    """Whether the runs were replays of a CUDA graph."""
    note: str
    """Why no graph was used; empty if one was."""


def time_on_gpu(run: Callable[[], object], settings: LatencySettings) -> CudaSamples:
    """Warm up, capture, then time runs until `runs` are counted, or the time is over and `min_runs` are.

    Args:
        run: Enqueues one run on the current stream.
        settings: Numbers of runs and time limit.
    """
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(max(3, settings.warmup)):
            run()
        stream.synchronize()
        graph, note = _capture(run, stream)
        step: Callable[[], object] = graph.replay if graph is not None else run
        for _ in range(max(3, settings.warmup)):
            step()
        stream.synchronize()
        pairs = _loop(step, stream, settings)
    events, wall = (np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    return CudaSamples(events=events, wall=wall, graph=graph is not None, note=note)


def _capture(run: Callable[[], object], stream: Any) -> tuple[Any, str]:
    """A graph of one run, or None and the reason why it cannot be captured."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream):
            run()
    except RuntimeError as error:
        torch.cuda.synchronize()
        return None, f"no CUDA graph: {str(error).strip().splitlines()[0]}"
    return graph, ""


def _loop(step: Callable[[], object], stream: Any, settings: LatencySettings) -> list[tuple[float, float]]:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    pairs: list[tuple[float, float]] = []
    began = time.perf_counter()
    while len(pairs) < settings.runs:
        if len(pairs) >= settings.min_runs and time.perf_counter() - began >= settings.seconds:
            break
        launched = time.perf_counter()
        start.record(stream)
        step()
        end.record(stream)
        end.synchronize()
        pairs.append((start.elapsed_time(end), (time.perf_counter() - launched) * 1e3))
    return pairs
