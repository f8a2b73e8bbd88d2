"""Events on disk between the driver and the store: what was told but not yet taken survives a dead server and a dead driver."""

import contextlib
import logging
import threading
from collections import deque
from dataclasses import replace
from pathlib import Path

from paretolens.files import replacing
from paretolens.mlflow.events import Event, EventKind

__all__ = ["Spool"]

_log = logging.getLogger(__name__)


class Spool:
    """An ordered queue with a JSONL file behind it. Safe to use from several threads of one process.

    The file holds every event since the last compaction, `<file>.done` the number of the last one taken. If the file can't be
    written (disk full), the events stay in memory and one warning is logged: tracking never stops a search.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Condition()
        self._queue: deque[Event] = deque()
        self._number = 0
        self._done = 0
        self._broken = self._warned = False
        if path is not None:
            self._load(path)

    def __len__(self) -> int:
        with self._lock:
            return len(self._queue)

    @property
    def path(self) -> Path | None:
        """The file, None when events are only kept in memory."""
        return self._path

    def put(self, event: Event) -> None:
        """Add an event at the end."""
        with self._lock:
            self._number += 1
            event = replace(event, number=self._number)
            self._queue.append(event)
            if self._broken:
                self._broken = False  # a failed write may have left half a line: start over with a whole file
                self.compact()
            else:
                self._append(self._path, event)
            self._lock.notify_all()

    def head(self, timeout_s: float) -> Event | None:
        """The oldest event, left in place; None if there is none within the time."""
        with self._lock:
            if not self._queue:
                self._lock.wait(timeout_s)
            return self._queue[0] if self._queue else None

    def take(self, *, rejected: str = "") -> None:
        """Drop the oldest event, since the store has it, or refused it for good (`rejected`: why; kept in `<file>.rejected`)."""
        with self._lock:
            event = self._queue.popleft()
            if rejected and self._path is not None:
                self._append(self._sibling(".rejected"), replace(event, tags={**event.tags, "rejected": rejected}))
            self._done = max(self._done, event.number)
            if self._path is not None and event.number:
                self._write(self._sibling(".done"), str(self._done))
            self._lock.notify_all()

    def wait_empty(self, timeout_s: float) -> bool:
        """Whether everything was taken within the time."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._queue, timeout_s)

    def wake(self) -> None:
        """Let whoever waits for an event look again."""
        with self._lock:
            self._lock.notify_all()

    def compact(self) -> None:
        """Drop from the file what was taken; without anything left, drop the file."""
        with self._lock:
            if self._path is None:
                return
            if self._queue:
                lines = "".join(event.to_json() + "\n" for event in self._queue if event.kind is not EventKind.STUDY)
                self._write(self._path, lines)
                return
            for path in (self._path, self._sibling(".done")):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def _sibling(self, suffix: str) -> Path:
        assert self._path is not None
        return self._path.with_name(self._path.name + suffix)

    def _load(self, path: Path) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._done = int(self._sibling(".done").read_text())
        try:
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._load_line(line, path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            _log.warning("%s can't be read (%s): records of an earlier run that wait in it are not sent", path, error.strerror)
            return
        self._number = max([self._done, *(event.number for event in self._queue)])
        self.compact()

    def _load_line(self, line: str, path: Path) -> None:
        try:
            event = Event.from_json(line)
        except ValueError:
            _log.warning("%s: a line cut short was left out (%.60r)", path, line)
            return
        if event.number > self._done:
            self._queue.append(event)

    def _append(self, path: Path | None, event: Event) -> None:
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(event.to_json() + "\n")
        except OSError as error:
            self._warn(path, error)

    def _write(self, path: Path, text: str) -> None:
        try:
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            self._warn(path, error)

    def _warn(self, path: Path, error: OSError) -> None:
        if not self._warned:
            _log.warning("%s can't be written (%s): tracking records are only kept in memory for now", path, error.strerror)
        self._warned = self._broken = True
