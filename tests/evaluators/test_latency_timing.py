from collections.abc import Callable

import numpy as np
import pytest

from paretolens.evaluators.latency.settings import LatencySettings
from paretolens.evaluators.latency.timing import BURST, Clocks, fastest_runs, interleave, scaled_latency


class Machine:
    """Two models and a clock: every run costs CPU time, and more wall time where a neighbour takes the core."""

    def __init__(self, candidate: Callable[[int], int], calibration_ns: int, *, neighbour_ns: int = 0) -> None:
        self.wall = self.cpu = 0
        self.neighbour_ns = neighbour_ns
        self.candidate, self.calibration_ns = candidate, calibration_ns
        self.order: list[str] = []

    def run(self) -> None:
        self._spend("a", self.candidate(self.order.count("a")))

    def calibrate(self) -> None:
        self._spend("b", self.calibration_ns)

    def _spend(self, name: str, cost: int) -> None:
        self.order.append(name)
        self.cpu += cost
        self.wall += cost + self.neighbour_ns

    @property
    def clocks(self) -> Clocks:
        return Clocks(wall=lambda: self.wall, cpu=lambda: self.cpu)


def test_bursts_take_turns_and_their_first_run_does_not_count() -> None:
    machine = Machine(lambda index: 1_000_000, 500_000)
    samples = interleave(machine.run, machine.calibrate, LatencySettings(runs=2 * BURST + 3, warmup=3), machine.clocks)
    one = "a" * (BURST + 1) + "b" * (BURST + 1)
    assert "".join(machine.order) == "ab" * 3 + one * 2 + "aaaa" + "bbbb"
    assert len(samples.cpu) == len(samples.calibration_cpu) == len(samples.wall) == 2 * BURST + 3
    assert samples.cpu.tolist() == [1.0] * (2 * BURST + 3)
    assert samples.calibration_cpu.tolist() == [0.5] * (2 * BURST + 3)


def test_the_run_after_the_other_model_is_left_out() -> None:
    """A run that follows the calibration model pays for cold caches."""
    machine = Machine(lambda index: 1, 1)

    def run() -> None:
        cold = not machine.order or machine.order[-1] == "b"
        machine._spend("a", 9_000_000 if cold else 2_000_000)

    samples = interleave(run, machine.calibrate, LatencySettings(runs=20, warmup=1), machine.clocks)
    assert samples.cpu.tolist() == [2.0] * 20


def test_neighbours_change_wall_time_only() -> None:
    settings = LatencySettings(runs=40)
    quiet, busy = (Machine(lambda index: 3_000_000, 1_000_000, neighbour_ns=extra) for extra in (0, 5_000_000))
    a, b = (interleave(machine.run, machine.calibrate, settings, machine.clocks) for machine in (quiet, busy))
    assert fastest_runs(a.cpu) == fastest_runs(b.cpu) == 3.0
    assert np.median(a.wall) == 3.0
    assert np.median(b.wall) == 8.0


def test_a_slower_machine_cancels_out() -> None:
    """Everything takes 30 % longer than when the reference was taken: the scaled latency stays."""
    settings = LatencySettings(runs=20)
    slow = Machine(lambda index: 3_900_000, 1_300_000)
    samples = interleave(slow.run, slow.calibrate, settings, slow.clocks)
    candidate, calibration = fastest_runs(samples.cpu), fastest_runs(samples.calibration_cpu)
    assert scaled_latency(candidate, calibration, 1.0) == pytest.approx(3.0)
    assert scaled_latency(candidate, calibration, None) == pytest.approx(3.9)


def test_time_limit_keeps_the_least_number_of_runs() -> None:
    settings = LatencySettings(runs=400, min_runs=BURST + 2, seconds=2.0, warmup=0)
    slow = Machine(lambda index: 400_000_000, 1)
    assert len(interleave(slow.run, slow.calibrate, settings, slow.clocks).cpu) == 2 * BURST
    quick = Machine(lambda index: 10_000_000, 10_000_000)  # 0.42 s a round
    assert len(interleave(quick.run, quick.calibrate, settings, quick.clocks).cpu) == 5 * BURST


def test_fastest_runs() -> None:
    assert fastest_runs(np.array([3.0, 2.0])) == 2.0
    assert fastest_runs(np.arange(100.0)[::-1]) == pytest.approx(0.5)
    spikes = np.where(np.arange(300) % 10 == 0, 2.0, 50.0)  # nine of ten runs disturbed
    assert fastest_runs(spikes) == 2.0
