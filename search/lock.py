"""One driver per study: an operating-system lock that dies with its holder, and a note of who that is, signed again and again."""

import fcntl
import json
import os
import socket
import threading
import time
from pathlib import Path

from paretolens.errors import StoreError

__all__ = ["DRIVER_LOCK", "DriverLock"]

DRIVER_LOCK = "driver.lock"
"""Its file in a study's folder, which a study has before it has anything else."""

SIGN_EVERY_S = 10.0
LEASE_S = 60.0
"""How long a note of another machine holds without being signed again."""


class DriverLock:
    """An exclusive lock on a study folder, held until `release` or the end of the process.

    The kernel releases it when the process ends for any reason, so a lock left by a dead driver of this machine is simply taken
    over. Not every network file system shares locks between machines: there the note decides, whose holder touches it every few
    seconds. One of another machine that has not been touched for a minute, by the clock of the file system, belongs to a driver
    that is gone.
    """

    def __init__(self, path: Path, *, sign_every_s: float = SIGN_EVERY_S) -> None:
        self._path = path
        self._every_s = sign_every_s
        self._file: int | None = None
        self._ended = threading.Event()

    def __getstate__(self) -> dict[str, object]:
        """A copy, as Tune makes one of its callbacks, holds nothing."""
        return {"_path": self._path, "_every_s": self._every_s, "_file": None}

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            StoreError: another driver holds it, the file cannot be written, or its file system has no locks.
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
        self._ended = threading.Event()
        threading.Thread(target=self._sign, args=(self._ended,), name="paretolens-lock", daemon=True).start()

    def ensure_held(self) -> None:
        """Make sure that no other machine has taken the study over, as it may while this one was suspended.

        Raises:
            StoreError: one has, or the lock is not held.
        """
        if self._file is None or _note(self._file) != _own_note():
            raise StoreError(
                f"study {self._path.parent.name}: another driver has taken it over; this one stops and leaves it alone"
            )

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._file is None:
            return
        self._ended.set()
        if _note(self._file) == _own_note():
            os.ftruncate(self._file, 0)
        os.close(self._file)
        self._file = None

    def _take(self, descriptor: int) -> None:
        name = self._path.parent.name
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"study {name}: another driver is working on it ({_holder(descriptor)}); "
                "wait for it to end, or choose another study name"
            ) from error
        except OSError as error:
            raise StoreError(
                f"{self._path}: cannot be locked ({error.strerror}); put the workspace on a file system with locks (--workspace)"
            ) from error
        host = _note(descriptor).get("host")
        if host not in (None, socket.gethostname()) and (left := LEASE_S - self._unsigned_s(descriptor)) > 0:
            raise StoreError(
                f"study {name}: a driver on {host} did not end cleanly and may still run; if not, try again in {left:.0f} s"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_own_note()).encode(), 0)
        os.fsync(descriptor)

    def _unsigned_s(self, descriptor: int) -> float:
        """How long ago the note was signed, both moments by the clock that the file system has."""
        signed = os.fstat(descriptor).st_mtime
        probe = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            probe.write_bytes(b"")
            return probe.stat().st_mtime - signed
        except OSError:
            return time.time() - signed
        finally:
            probe.unlink(missing_ok=True)

    def _sign(self, ended: threading.Event) -> None:
        while not ended.wait(self._every_s):
            try:
                if json.loads(self._path.read_bytes() or b"{}") == _own_note():
                    os.utime(self._path)
            except (OSError, ValueError):
                continue  # `ensure_held` says so before the next write


def _own_note() -> dict[str, object]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _note(descriptor: int) -> dict[str, object]:
    try:
        note = json.loads(os.pread(descriptor, 4096, 0) or b"{}")
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _holder(descriptor: int) -> str:
    note = _note(descriptor)
    return f"process {note.get('pid', 'unknown')} on {note.get('host', 'an unknown machine')}"
