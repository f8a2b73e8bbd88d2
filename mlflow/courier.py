"""The thread that takes events from the spool to the store, in order, and waits out a store that is away."""

import logging
import threading
import time

from paretolens.mlflow.spool import Spool
from paretolens.mlflow.store import one_line
from paretolens.mlflow.writer import RunWriter, is_permanent

__all__ = ["Courier"]

_log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 15.0
_IDLE_S = 1.0


class Courier(threading.Thread):
    """Sends one study's events. The search only ever appends to the spool, so a dead server costs it nothing."""

    def __init__(self, spool: Spool, writer: RunWriter) -> None:
        super().__init__(name="paretolens-courier", daemon=True)
        self._spool, self._writer = spool, writer
        self._stop_asked = threading.Event()
        self._hurry = threading.Event()
        self.trouble: Exception | None = None
        """Why the last attempt failed; None while the store answers."""
        self.rejected = 0
        """Events that the store refused for good."""

    def run(self) -> None:
        """Send until asked to stop; an event is dropped only when the store has it or refuses it for good."""
        failures = 0
        while not self._stop_asked.is_set():
            event = self._spool.head(_IDLE_S)
            if event is None:
                continue
            try:
                self._writer.apply(event)
            except Exception as error:
                if is_permanent(error):
                    self._reject(event.kind, error)
                    continue
                failures += 1
                self._note(error)
                self._hurry.clear()
                self._hurry.wait(min(_LONGEST_WAIT_S, 2.0 ** min(failures, 10) / 4))
            else:
                self._spool.take()
                failures = 0
                if self.trouble is not None:
                    _log.warning("the tracking store is back; %d records left to send", len(self._spool))
                    self.trouble = None

    def stop(self, timeout_s: float) -> None:
        """End the thread; what wasn't sent stays in the spool."""
        self._stop_asked.set()
        self._hurry.set()
        self._spool.wake()
        self.join(timeout_s)

    def wait_sent(self, timeout_s: float, *, patience_s: float | None = None) -> bool:
        """Wait until everything is sent; an attempt that waits for its time is made at once.

        Args:
            timeout_s: Longest time to wait.
            patience_s: Longest time to wait while the store doesn't answer; `timeout_s` if None.
        """
        start = time.monotonic()
        self._hurry.set()
        while not self._spool.wait_empty(0.2):
            waited = time.monotonic() - start
            away = self.trouble is not None and patience_s is not None and waited > patience_s
            if waited > timeout_s or away or not self.is_alive():
                return len(self._spool) == 0
        return True

    def _reject(self, kind: str, error: Exception) -> None:
        self.rejected += 1
        reason = one_line(error, longest=500)
        _log.warning("the tracking store refused a record (%s): %s", kind, reason)
        self._spool.take(rejected=reason)

    def _note(self, error: Exception) -> None:
        if self.trouble is None:
            place = f"kept in {self._spool.path}" if self._spool.path else "kept in memory"
            reason = one_line(error, longest=200)
            _log.warning("the tracking store is away (%s); records are %s and sent when it is back", reason, place)
        self.trouble = error
