"""The arithmetic of a CPU measurement: interleaved bursts, thread CPU time, the mean of the fastest fiftieth.

Thread CPU time does not count the moments in which another process had the core, so it is what the model costs rather than
what the machine was doing. What is left of the noise is one-sided (evicted caches, a lowered clock), so the fastest runs are the
true ones. With two trials training beside it on 2 cores, the ratio of a 1.4 ms model to the calibration model had a coefficient
of variation of 7 % with the fastest quarter of 60 runs in bursts of 5, and of 1.9 % with the fastest fiftieth of 300 runs in
bursts of 20 (.7 % with nothing beside it); `benchmarks/latency_noise.py` measures it again.
Each burst begins with a run that is not counted: the other model has just been through the caches. Without it the calibration
model was 12 % slower beside a model of 45 MB than beside one of 5 MB; with it, the same within .2 %.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretolens.evaluators.latency.settings import LatencySettings

__all__ = ["BURST", "Clocks", "Samples", "fastest_runs", "interleave", "scaled_latency"]

BURST = 20
"""Counted runs of one model before the other has its turn."""
RESOLUTION_S = 1e-5

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """Where time comes from; injected in tests."""

    wall: Callable[[], int] = time.perf_counter_ns
    """Wall time in nanoseconds."""
    cpu: Callable[[], int] = time.thread_time_ns
    """CPU time of the calling thread in nanoseconds."""

    @staticmethod
    def cpu_is_fine() -> bool:
        """Whether the system counts thread CPU time finely enough (Windows counts in steps of 15 ms)."""
        return time.get_clock_info("thread_time").resolution <= RESOLUTION_S


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Counted runs in order, in milliseconds."""

    wall: Floats
    """Wall time of each candidate run."""
    cpu: Floats
    """Thread CPU time of each candidate run."""
    calibration_wall: Floats
    """Wall time of each calibration run."""
    calibration_cpu: Floats
    """Thread CPU time of each calibration run."""


def interleave(run: Callable[[], object], calibrate: Callable[[], object], settings: LatencySettings, clocks: Clocks) -> Samples:
    """Warm up, then time bursts of both in turn until `runs` are counted, or the time is over and `min_runs` are."""
    for _ in range(settings.warmup):
        run()
        calibrate()
    candidate: list[tuple[int, int]] = []
    calibration: list[tuple[int, int]] = []
    began = clocks.wall()
    while len(candidate) < settings.runs:
        if len(candidate) >= settings.min_runs and (clocks.wall() - began) / 1e9 >= settings.seconds:
            break
        burst = min(BURST, settings.runs - len(candidate))
        candidate += _burst(run, burst, clocks)
        calibration += _burst(calibrate, burst, clocks)
    wall, cpu = (np.array(column) / 1e6 for column in zip(*candidate, strict=True))
    calibration_wall, calibration_cpu = (np.array(column) / 1e6 for column in zip(*calibration, strict=True))
    return Samples(wall=wall, cpu=cpu, calibration_wall=calibration_wall, calibration_cpu=calibration_cpu)


def fastest_runs(values: Floats) -> float:
    """Mean of the fastest fiftieth of the runs, at least of one."""
    return float(np.sort(values)[: max(1, len(values) // 50)].mean())


def scaled_latency(candidate_ms: float, calibration_ms: float, reference_ms: float | None) -> float:
    """Candidate time in units of the calibration model's, turned back to milliseconds by its reference time."""
    return candidate_ms if reference_ms is None else candidate_ms / calibration_ms * reference_ms


def _burst(run: Callable[[], object], count: int, clocks: Clocks) -> list[tuple[int, int]]:
    run()  # brings its weights back into the caches
    times = []
    for _ in range(count):
        wall, cpu = clocks.wall(), clocks.cpu()
        run()
        times.append((clocks.wall() - wall, clocks.cpu() - cpu))
    return times
