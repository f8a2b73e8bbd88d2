"""The journal's file: appends that leave nothing half-written, and the repair of a tail that a crash cut off.

A cut between two lines leaves nothing that looks damaged. So a seal beside the journal says how long it has been: written after
every append and advisory, it may lag behind the journal but never be ahead of it.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from paretolens.errors import IntegrityError, StoreError
from paretolens.files import replacing

__all__ = ["missing_records", "open_storage", "repair_tail", "store_errors"]

_SEAL = ".seal"


class _WholeLines(JournalFileBackend):
    """Takes a failed append back, so that the next one does not continue a broken line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path)))
        self._lines = _length(path)[1]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines, all or none."""
        size = self._path.stat().st_size
        try:
            super().append_logs(logs)
        except OSError:
            os.truncate(self._path, size)
            raise
        self._lines += len(logs)
        self._write_seal()

    def _write_seal(self) -> None:
        sealed = json.dumps({"bytes": self._path.stat().st_size, "lines": self._lines})
        with suppress(OSError), replacing(_seal_of(self._path)) as temporary:  # without room for it the journal still counts
            temporary.write_text(sealed, encoding="utf-8")


def open_storage(path: Path) -> JournalStorage:
    """Open a journal that may or may not exist yet."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return JournalStorage(_WholeLines(path))


def missing_records(path: Path) -> int:
    """How many lines a journal has lost since they were written; 0 for one that is as long as it has ever been.

    Raises:
        StoreError: the journal cannot be read.
    """
    try:
        sealed = json.loads(_seal_of(path).read_text(encoding="utf-8"))
        size, lines = int(sealed["bytes"]), int(sealed["lines"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # from before there were seals, or lost in a power cut
    with store_errors(path.parent):
        found_size, found_lines = _length(path)
    return max(1, lines - found_lines) if found_size < size else 0


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}{_SEAL}")


def _length(path: Path) -> tuple[int, int]:
    """Bytes and lines; 0 of both where there is no file."""
    if not path.exists():
        return 0, 0
    content = path.read_bytes()
    return len(content), content.count(b"\n")


def repair_tail(path: Path) -> Path | None:
    """Cut a journal back to its last whole line and return where a copy of the damaged file was kept; None if it was whole.

    Raises:
        IntegrityError: a damaged line is followed by sound ones, or no line is sound, so that cutting would lose trials.
        StoreError: the file cannot be read or written.
    """
    if not path.exists():
        return None
    with store_errors(path.parent):
        lines = path.read_bytes().splitlines(keepends=True)
        sound = [_is_sound(line) for line in lines]
        if all(sound):
            return None
        first = sound.index(False)
        if any(sound[first:]):
            raise IntegrityError(
                f"{path}: line {first + 1} of {len(lines)} is damaged and sound lines follow; restore the file from a copy"
            )
        if first == 0 and len(lines) > 1:  # the first write of all, cut short, leaves one line
            raise IntegrityError(
                f"{path}: not one line of it is a journal's; restore the file from a copy, or choose another study"
            )
        copy = _free_copy_name(path)
        shutil.copy2(path, copy)
        with path.open("r+b") as file:
            file.truncate(sum(len(line) for line in lines[:first]))
            os.fsync(file.fileno())
        return copy


def _is_sound(line: bytes) -> bool:
    if not line.endswith(b"\n"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _free_copy_name(path: Path) -> Path:
    number = 1
    while (copy := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return copy


@contextmanager
def store_errors(folder: Path) -> Iterator[None]:
    """Turn an operating-system error into a StoreError that names the study's folder."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"study folder {folder}: cannot be used ({reason}); free some space or check its permissions") from error
