"""The wall clock as a study's record needs it: it may jump, but never goes back."""

import time
from collections.abc import Callable

__all__ = ["Clock"]


class Clock:
    """Milliseconds since the epoch that never decrease, so that no run ends before it began and no curve runs backwards.

    When the machine's clock is set back, time goes on from where it was: by the steady clock until then, by the wall clock after.
    """

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns, steady_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._wall_ns, self._steady_ns = wall_ns, steady_ns
        self._ahead = self._last = 0
        self._steady = steady_ns() // 1_000_000

    def now(self) -> int:
        """The time in ms since the epoch."""
        wall, steady = self._wall_ns() // 1_000_000, self._steady_ns() // 1_000_000
        if wall + self._ahead < self._last:
            self._ahead = self._last + steady - self._steady - wall
        self._last, self._steady = wall + self._ahead, steady
        return self._last

    def not_before(self, moment_ms: int) -> None:
        """Let nothing be told before this moment."""
        self._last = max(self._last, moment_ms)
