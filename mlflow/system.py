"""What the driver's machine is doing, under the names of MLflow's own tab for system metrics."""

import logging
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

__all__ = ["SystemSampler", "own_process", "sample"]

_log = logging.getLogger(__name__)


def sample() -> dict[str, float]:
    """CPU and memory in per cent and MB, and the share of the disk that is used."""
    import psutil

    memory, disk = psutil.virtual_memory(), psutil.disk_usage(".")
    return {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / 1e6,
        "system/system_memory_usage_percentage": memory.percent,
        "system/disk_usage_percentage": disk.percent,
    }


def own_process() -> dict[str, float]:
    """What the calling process takes: memory in MB, and CPU in per cent of one core since the last call (0 at the first)."""
    process = _process()
    return {
        "system/process_memory_megabytes": process.memory_info().rss / 1e6,
        "system/process_cpu_utilization_percentage": process.cpu_percent(),
    }


@lru_cache(maxsize=1)
def _process() -> Any:
    import psutil

    return psutil.Process()


class SystemSampler(threading.Thread):
    """Takes a sample every few seconds and hands it on."""

    def __init__(self, report: Callable[..., None], *, every_s: float) -> None:
        super().__init__(name="paretolens-system", daemon=True)
        self._report, self._every_s = report, every_s
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Sample until asked to stop."""
        step = 0
        while not self._stop_asked.wait(self._every_s):
            try:
                self._report(sample(), step=step)
            except Exception:
                _log.exception("system metrics ended")
                return
            step += 1

    def stop(self) -> None:
        """End the thread."""
        self._stop_asked.set()
        self.join(5.0)
