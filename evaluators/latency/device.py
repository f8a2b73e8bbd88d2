"""Names and load of the machine."""

import os
import platform
from functools import lru_cache
from pathlib import Path

__all__ = ["cpu_name", "load_average", "switches"]


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def load_average() -> float | None:
    """Load of the last minute, None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def switches() -> int | None:
    """Involuntary context switches of the calling thread so far, None where the system does not tell."""
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
    except (ImportError, AttributeError, OSError, ValueError):
        return None
