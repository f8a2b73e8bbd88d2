"""Energy of a stretch of work, where the device counts it: RAPL on x86 processors, NVML on NVIDIA GPUs, tegrastats on Jetson.

RAPL and NVML count joules of the whole package or board, neighbours included; tegrastats tells power, which is summed over time.
"""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Meter", "Reading", "find_meters", "metered"]

POWERCAP = Path("/sys/class/powercap")
_INPUT = re.compile(r"(?:VDD_IN|POM_5V_IN|VIN_SYS_5V0) (\d+)(?:mW)?/")


@dataclass(frozen=True, kw_only=True)
class Meter:
    """One counter of energy."""

    name: str
    """`RAPL`, `NVML` or `tegrastats`."""
    joules: Callable[[], float] | None
    """Joules counted so far; None where it cannot be read."""
    reason: str
    """What it counts, or why it cannot be read."""
    wraps_at: float = 0.0
    """Joules at which the counter begins again; 0 = never."""
    stop: Callable[[], object] = lambda: None
    """Ends what reads it."""


@dataclass(kw_only=True)
class Reading:
    """What was counted within a `metered` block; complete once it has ended."""

    joules: dict[str, float]
    """By meter."""
    missing: dict[str, str]
    """Reasons by meter that could not be read."""


def find_meters(powercap: Path = POWERCAP) -> tuple[Meter, ...]:
    """All three; those that cannot be read here say why."""
    return (_rapl(powercap), _nvml(), _tegrastats())


@contextmanager
def metered(meters: tuple[Meter, ...]) -> Iterator[Reading]:
    """Count the energy of what is done within."""
    reading = Reading(joules={}, missing={meter.name: meter.reason for meter in meters if meter.joules is None})
    before = {meter.name: meter.joules() for meter in meters if meter.joules is not None}
    try:
        yield reading
    finally:
        for meter in meters:
            if meter.joules is not None:
                used = meter.joules() - before[meter.name]
                reading.joules[meter.name] = used + meter.wraps_at if used < 0 else used
            meter.stop()


def _rapl(powercap: Path) -> Meter:
    packages = [path for path in sorted(powercap.glob("intel-rapl:*")) if path.name.count(":") == 1]
    if not packages:
        return Meter(name="RAPL", joules=None, reason=f"{powercap} lists no package (virtual machines hide it)")

    def read() -> float:
        return sum(float((path / "energy_uj").read_text(encoding="ascii")) for path in packages) / 1e6

    try:
        read()
        wraps_at = sum(float((path / "max_energy_range_uj").read_text(encoding="ascii")) for path in packages) / 1e6
    except (OSError, ValueError) as error:
        why = "only root may read it" if isinstance(error, PermissionError) else str(error)
        return Meter(name="RAPL", joules=None, reason=why)
    whole = f"{len(packages)} package{'s' if len(packages) > 1 else ''}, everything that runs on them"
    return Meter(name="RAPL", joules=read, reason=whole, wraps_at=wraps_at if len(packages) == 1 else 0.0)


def _nvml() -> Meter:
    try:
        import pynvml
    except ImportError:
        return Meter(name="NVML", joules=None, reason="nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
    except pynvml.NVMLError as error:
        return Meter(name="NVML", joules=None, reason=f"no NVIDIA GPU that tells ({error})")

    def read() -> float:
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(device)) / 1e3

    return Meter(name="NVML", joules=read, reason="the first GPU's board")


def _tegrastats() -> Meter:
    program = shutil.which("tegrastats")
    if program is None:
        return Meter(name="tegrastats", joules=None, reason="no such program, so this is no Jetson")
    process = subprocess.Popen([program, "--interval", "100"], stdout=subprocess.PIPE, text=True)
    counted = PowerSum()

    def follow() -> None:
        for line in process.stdout or ():
            counted.add(line)

    threading.Thread(target=follow, daemon=True).start()
    return Meter(name="tegrastats", joules=counted.joules, reason="the module's input", stop=process.terminate)


class PowerSum:
    """Joules from lines of power, each of which holds since the one before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._last, self._sum = clock, clock(), 0.0

    def add(self, line: str) -> None:
        """Take a line of tegrastats; those without the module's input are passed over."""
        match, now = _INPUT.search(line), self._clock()
        if match:
            self._sum += float(match[1]) / 1e3 * (now - self._last)
            self._last = now

    def joules(self) -> float:
        """Energy so far."""
        return self._sum
