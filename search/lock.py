"""One driver per study: an operating-system lock that dies with its holder, with a note of who that is."""

import fcntl
import json
import os
import socket
from pathlib import Path

from paretolens.errors import StoreError

__all__ = ["DriverLock"]


class DriverLock:
    """An exclusive lock on a study folder, held until `release` or the end of the process.

    The kernel releases it when the process ends for any reason, so a lock left by a dead driver of this machine is simply taken
    over. Where a note from another machine is left behind, the lock is refused: not every network file system shares locks
    between machines.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            StoreError: another driver holds it, or the file cannot be written.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be opened ({error.strerror}); check its permissions") from error
        try:
            self._take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._file = descriptor

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._file is None:
            return
        os.ftruncate(self._file, 0)
        os.close(self._file)
        self._file = None

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"study {self._path.parent.name}: another driver is working on it ({_holder(descriptor)}); "
                "wait for it to end, or choose another study name"
            ) from error
        host = _note(descriptor).get("host")
        if host not in (None, socket.gethostname()):
            raise StoreError(
                f"study {self._path.parent.name}: a driver on {host} did not end cleanly and may still run; "
                f"make sure that it does not, then delete {self._path}"
            )
        note = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note, 0)
        os.fsync(descriptor)


def _note(descriptor: int) -> dict[str, object]:
    try:
        note = json.loads(os.pread(descriptor, 4096, 0) or b"{}")
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _holder(descriptor: int) -> str:
    note = _note(descriptor)
    return f"process {note.get('pid', 'unknown')} on {note.get('host', 'an unknown machine')}"
