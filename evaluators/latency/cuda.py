"""Timing on a GPU: CUDA events on a private stream, replays of a CUDA graph where the work can be captured.

The runs themselves are timed on tensors that lie on the device. What an application pays for bringing inputs and fetching outputs
is timed after them in rounds of its own: each transfer apart, and the whole way.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paretolens.evaluators.latency.copies import Copies
from paretolens.evaluators.latency.settings import LatencySettings

__all__ = ["CudaSamples", "time_on_gpu"]

Floats = NDArray[np.float64]
WARMUP = 3
"""Rounds with transfers before the first one that counts."""


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
    copy_in: Floats | None = None
    """Time of the inputs' transfer to the device, by CUDA events; None where no transfers were given."""
    copy_out: Floats | None = None
    """Time of the outputs' transfer to the host."""
    whole: Floats | None = None
    """Time from the first input's transfer to the last output's, by CUDA events."""


def time_on_gpu(run: Callable[[], object], settings: LatencySettings, copies: Copies | None = None) -> CudaSamples:
    """Warm up, capture, then time runs until `runs` are counted, or the time is over and `min_runs` are.

    Args:
        run: Enqueues one run on the current stream.
        settings: Numbers of runs and time limit, of the runs and of the rounds with transfers each.
        copies: Transfers of a run's inputs and outputs.
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
        events, wall = _columns(_loop(step, stream, settings))
        found = CudaSamples(events=events, wall=wall, graph=graph is not None, note=note)
        if copies is None:
            return found
        copy_in, copy_out, whole = _columns(_with_copies(step, copies, stream, settings))
    return replace(found, copy_in=copy_in, copy_out=copy_out, whole=whole)


def _columns(rows: list[tuple[float, ...]]) -> tuple[Floats, ...]:
    return tuple(np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))


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


def _loop(step: Callable[[], object], stream: Any, settings: LatencySettings) -> list[tuple[float, ...]]:
    """(events, wall) of each run."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    pairs: list[tuple[float, ...]] = []
    for _ in _rounds(settings):
        launched = time.perf_counter()
        start.record(stream)
        step()
        end.record(stream)
        end.synchronize()
        pairs.append((start.elapsed_time(end), (time.perf_counter() - launched) * 1e3))
    return pairs


def _with_copies(step: Callable[[], object], copies: Copies, stream: Any, settings: LatencySettings) -> list[tuple[float, ...]]:
    """(inputs, outputs, the whole way) of each round."""
    begin, ready, done, end = (torch.cuda.Event(enable_timing=True) for _ in range(4))
    rows: list[tuple[float, ...]] = []
    for number in _rounds(settings, extra=WARMUP):
        begin.record(stream)
        copies.bring()
        ready.record(stream)
        step()
        done.record(stream)
        copies.fetch()
        end.record(stream)
        end.synchronize()
        if number >= WARMUP:
            rows.append((begin.elapsed_time(ready), done.elapsed_time(end), begin.elapsed_time(end)))
    return rows


def _rounds(settings: LatencySettings, extra: int = 0) -> Iterator[int]:
    """Counts until `runs` are made, or the time is over and `min_runs` are; `extra` ones go before."""
    began = time.perf_counter()
    for number in range(extra + settings.runs):
        if number >= extra + settings.min_runs and time.perf_counter() - began >= settings.seconds:
            break
        yield number
