"""Energy of a stretch of work, where the device counts it: RAPL on x86 processors, NVML on NVIDIA GPUs, tegrastats on Jetson.

RAPL and NVML count joules of the whole package or board, neighbours included; tegrastats tells power, which is summed over time.
A processor's work is counted by RAPL and a GPU's by NVML: the other one would count what idles meanwhile.
"""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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
    stop: Callable[[], object] = lambda: None
    """Ends what reads it."""


@dataclass(kw_only=True)
class Reading:
    """What was counted within a `metered` block; complete once it has ended."""

    joules: dict[str, float]
    """By meter."""
    missing: dict[str, str]
    """Reasons by meter that could not be read."""


def find_meters(*, gpu: str | None = None, powercap: Path = POWERCAP) -> tuple[Meter, ...]:
    """The meters of what runs the model; those that cannot be read here say why.

    Args:
        gpu: UUID of the GPU that runs it, as torch tells it; None = the processor.
        powercap: Where the system lists RAPL's counters.
    """
    return (_rapl(powercap) if gpu is None else _nvml(gpu), _tegrastats())


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
                reading.joules[meter.name] = meter.joules() - before[meter.name]
            meter.stop()


def _rapl(powercap: Path) -> Meter:
    packages = [path for path in sorted(powercap.glob("intel-rapl:*")) if path.name.count(":") == 1]
    if not packages:
        return Meter(name="RAPL", joules=None, reason=f"{powercap} lists no package (virtual machines hide it)")

    def read(path: Path, name: str) -> float:
        return float((path / name).read_text(encoding="ascii")) / 1e6

    try:
        counters = [Counter(partial(read, path, "energy_uj"), range_j=read(path, "max_energy_range_uj")) for path in packages]
    except (OSError, ValueError) as error:
        why = "only root may read it" if isinstance(error, PermissionError) else str(error)
        return Meter(name="RAPL", joules=None, reason=why)
    whole = f"{len(packages)} package{'s' if len(packages) > 1 else ''}, everything that runs on them"
    return Meter(name="RAPL", joules=lambda: sum(counter.joules() for counter in counters), reason=whole)


class Counter:
    """A counter of energy that begins again at `range_j`, as one that never does; read it at least once within that."""

    def __init__(self, read: Callable[[], float], *, range_j: float) -> None:
        self._read, self._range, self._last, self._sum = read, range_j, read(), 0.0

    def joules(self) -> float:
        """Energy since it was made."""
        now = self._read()
        self._sum += (now - self._last) % self._range
        self._last = now
        return self._sum


def _nvml(uuid: str) -> Meter:
    try:
        import pynvml
    except ImportError:
        return Meter(name="NVML", joules=None, reason="nvidia-ml-py is not installed")
    try:
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
    except pynvml.NVMLError as error:
        return Meter(name="NVML", joules=None, reason=f"no NVIDIA GPU that tells ({error})")

    def read() -> float:
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(device)) / 1e3

    return Meter(name="NVML", joules=read, reason="the board of the GPU that runs it")


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
