"""Resident memory of this process and its peak.

On Linux the peak is VmHWM, which is reset through /proc/self/clear_refs; elsewhere it is `ru_maxrss`, which can't be.
"""

import sys
from pathlib import Path

__all__ = ["peak_bytes", "reset_peak", "resident_bytes"]


def resident_bytes() -> int:
    """Resident memory of this process now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """Peak of this process's resident memory."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak() -> None:
    """Let the peak start again from the present value, where the system allows it (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return  # the peak since the start then counts, which is never too small
