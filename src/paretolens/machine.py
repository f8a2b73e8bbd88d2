"""What this process may use of its machine."""

import os

__all__ = ["usable_cores"]


def usable_cores() -> int:
    """Processor cores that this process may run on; all of the machine where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
