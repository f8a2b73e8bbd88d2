"""The study's epochs: what every trial reported and when, one JSON line per report.

It lets the rungs of early stopping survive a restart and a finished study be replayed. The journal stays the record of trials;
losing this file loses no trial. Lines are appended whole; a tail that a crash cut off is cut away when the file is opened.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from paretolens.search.halving import Milestone
from paretolens.search.journal_file import store_errors
from paretolens.search.observer import Epoch, TrialStart
from paretolens.search.outcome import TrialRecord

__all__ = ["EPOCHS", "EpochLine", "EpochLog", "milestones", "read_epochs"]

EPOCHS = "epochs.jsonl"


@dataclass(frozen=True, kw_only=True)
class EpochLine:
    """One report."""

    number: int
    """The trial's number in the journal."""
    key: str
    """`genome_key` of the trial."""
    step: int
    """How often it had reported, from 1."""
    seconds: float
    """How long it had run."""
    metrics: Mapping[str, float]
    """What it reported; numbers that are not finite are left out."""

    def milestone(self) -> Milestone | None:
        """What early stopping reads of it."""
        return Milestone.of(self.key, self.metrics)


class EpochLog:
    """An observer that appends every report to a file.

    Args:
        folder: the study's folder.

    Raises:
        StoreError: the file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[int, str] = {}
        with store_errors(folder):
            _cut_tail(folder / EPOCHS)

    def trial_started(self, start: TrialStart) -> None:
        """Remember its key."""
        self._keys[start.number] = start.key

    def trial_begun(self, number: int) -> None:
        """Nothing."""

    def trial_reported(self, epoch: Epoch) -> None:
        """Append a line."""
        line = {
            "number": epoch.number,
            "key": self._keys[epoch.number],
            "step": epoch.step,
            "seconds": round(epoch.seconds, 3),
            "metrics": {name: value for name, value in epoch.metrics.items() if math.isfinite(value)},
        }
        _append(self._folder / EPOCHS, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def trial_ended(self, entry: TrialRecord) -> None:
        """Forget its key."""
        self._keys.pop(entry.number, None)


def milestones(folder: Path) -> list[Milestone]:
    """What early stopping has seen of a study so far, oldest first."""
    return [milestone for line in read_epochs(folder) if (milestone := line.milestone()) is not None]


def read_epochs(folder: Path) -> list[EpochLine]:
    """All whole lines, oldest first; empty if there is no file. Lines that cannot be read are passed over."""
    path = folder / EPOCHS
    with store_errors(folder):
        text = path.read_bytes() if path.exists() else b""
    return list(_parsed(text))


def _parsed(text: bytes) -> Iterator[EpochLine]:
    for line in text.splitlines():
        try:
            yield EpochLine(**json.loads(line))
        except (ValueError, TypeError):
            continue


def _append(path: Path, line: bytes) -> None:
    """One write to a file opened for appending, taken back if the disk takes only a part of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line) < len(line):
            os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def _cut_tail(path: Path) -> None:
    if not path.exists():
        return
    text = path.read_bytes()
    if text and not text.endswith(b"\n"):
        os.truncate(path, text.rfind(b"\n") + 1)
