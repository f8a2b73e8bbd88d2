"""The journal's file: appends that leave nothing half-written, and the repair of a tail that a crash cut off."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from paretolens.errors import IntegrityError, StoreError

__all__ = ["open_storage", "repair_tail", "store_errors"]


class _WholeLines(JournalFileBackend):
    """Takes a failed append back, so that the next one does not continue a broken line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path)))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines, all or none."""
        size = self._path.stat().st_size
        try:
            super().append_logs(logs)
        except OSError:
            os.truncate(self._path, size)
            raise


def open_storage(path: Path) -> JournalStorage:
    """Open a journal that may or may not exist yet."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return JournalStorage(_WholeLines(path))


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
