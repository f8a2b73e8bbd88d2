"""Trained stages kept by their content: one folder per result, shared by all workers and studies of a workspace.

    <key>/model/        the weights and the architecture that surgery left (`models.record`, checksums included)
    <key>/stage.json    what was reported while it was trained, with its own checksum
    <key>/used          one byte per reuse; its time is that of the last use
    <key>.lock          held by whoever trains, reads or evicts the entry; the system lets go of a dead process's
    <key>.beat          when the one who trains it last finished an epoch, and how long that took

A key says all that shapes a result (`stage_keys`), so an entry is never out of date. Several processes may use a cache at once.
"""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt
from filelock import FileLock, Timeout
from torch import nn

from paretolens.data.store import digest_of_json
from paretolens.errors import IntegrityError, StoreError
from paretolens.exporters.files import write_atomic
from paretolens.models.record import load_model, save_model
from paretolens.search.stored import read_json

__all__ = ["CacheEntry", "CacheSettings", "StageCache", "StageResult"]

_logger = logging.getLogger(__name__)
FORMAT = 1
RECORD, USED, MODEL = "stage.json", "used", "model"
_POLL_S = 0.1
_OLD_LOCK_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """What is kept between trials and studies. No result depends on it beyond rounding."""

    teacher: bool = True
    """Compute what the teacher says about the training clips once; off, it is asked again in every step (to compare costs)."""
    stages: bool = True
    """Start a trial from the trained stages that it shares with an earlier one."""
    max_gb: Annotated[float, Gt(0)] = 5.0
    """Most that trained stages may take on disk, in 10⁹ bytes; those used longest ago go first."""
    patience_s: Annotated[float, Gt(0)] = 60.0
    """How long the trial that trains a stage may be silent before one that waits for it trains it alone; at least two of its
    epochs."""


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """A model after a stage, and what led there."""

    model: nn.Module
    """In evaluation mode."""
    epochs: tuple[Mapping[str, float], ...] = ()
    """What was reported of this stage and those before it, one mapping per epoch."""
    records: Mapping[str, Any] = field(default_factory=dict)
    """File name → JSON value that the stages leave in a trial's folder."""
    seconds: float = 0.0
    """What training all of it took."""
    observed: str = ""
    """Under which settings the figures were taken that are no part of training."""


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """One folder of the cache."""

    folder: Path
    """Where it is."""
    size_bytes: int
    """What it takes on disk."""
    uses: int
    """How often a trial started from it."""
    last_used: float
    """Seconds since the epoch of its last use, or of its making."""


class StageCache:
    """The stages of a workspace. For one thread; any number of processes.

    Args:
        folder: created when the first result is kept.
        settings: bounds.
        clock: seconds that only grow, by which the silence of another process is told.
    """

    def __init__(self, folder: Path, settings: CacheSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self._settings = settings
        self._clock = clock
        self.warnings: list[str] = []
        """What went wrong without harm: damaged entries that were made again, results that could not be kept."""

    def load(self, key: str) -> StageResult | None:
        """The result of a key; None if there is none, or if it is damaged and was removed."""
        if not (self.folder / key / RECORD).is_file():
            return None
        with self._held(key):
            return self._read(key)

    def obtain(self, key: str, build: Callable[[Callable[[], None]], StageResult]) -> tuple[StageResult, bool]:
        """The result of a key, from the cache or made now.

        Where another process is making it, this waits as long as that one shows life, then makes it alone.

        Args:
            key: its name.
            build: makes it; is given a function to call after every epoch.

        Returns:
            The result, and whether it came from the cache.
        """
        with self._held(key):
            found = self._read(key)
            if found is not None:
                return found, True
            result = build(_Heart(self.folder / f"{key}.beat").beat)
            self._keep(key, result)
            return result, False

    def entries(self) -> list[CacheEntry]:
        """Everything that is kept, the one used longest ago first."""
        found = []
        for path in self.folder.glob(f"*/{RECORD}"):
            with suppress(OSError):  # evicted meanwhile
                used = (path.parent / USED).stat()
                size = sum(item.stat().st_size for item in path.parent.rglob("*") if item.is_file())
                found.append(CacheEntry(folder=path.parent, size_bytes=size, uses=used.st_size, last_used=used.st_mtime))
        return sorted(found, key=lambda entry: entry.last_used)

    def evict(self, max_bytes: float) -> tuple[int, int]:
        """Remove the entries used longest ago until no more than `max_bytes` are kept; returns how many, and their bytes.

        An entry that is being read, or made again, stays.
        """
        entries = self.entries()
        excess, count, freed = sum(entry.size_bytes for entry in entries) - max_bytes, 0, 0
        for entry in entries:
            if freed >= excess:
                break
            if self._remove(entry.folder.name):
                count, freed = count + 1, freed + entry.size_bytes
        self._sweep()
        return count, freed

    def _read(self, key: str) -> StageResult | None:
        place = self.folder / key
        if not place.is_dir():
            return None
        try:
            record = _opened(place / RECORD, key)
            result = StageResult(
                model=load_model(place / MODEL), epochs=tuple(record["epochs"]), records=record["records"],
                seconds=record["seconds"], observed=record["observed"],
            )  # fmt: skip
        except IntegrityError as error:
            self._warn(f"a stage in the cache was damaged and is trained again ({error})")
            shutil.rmtree(place, ignore_errors=True)
            return None
        with suppress(OSError), (place / USED).open("ab") as stream:
            stream.write(b"+")
        return result

    def _keep(self, key: str, result: StageResult) -> None:
        place = self.folder / key
        try:
            temporary = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=self.folder))
            try:
                _write(temporary, key, result)
                if not place.is_dir():  # else one that we did not wait for was faster
                    temporary.rename(place)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            self.evict(self._settings.max_gb * 1e9)
        except (OSError, StoreError) as error:  # the trial has its result all the same
            self._warn(f"a trained stage could not be kept in {self.folder} ({error})")

    @contextmanager
    def _held(self, key: str) -> Iterator[bool]:
        """Whether this process has the entry to itself; not if another one is silent for longer than its patience."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f"{key}.lock")
            owner = self._wait(lock, _Heart(self.folder / f"{key}.beat"))
        except OSError as error:
            self._warn(f"the cache {self.folder} cannot be used ({error})")
            owner = False
        try:
            yield owner
        finally:
            if owner:
                lock.release()

    def _wait(self, lock: FileLock, heart: "_Heart") -> bool:
        """Wait for a lock while its holder shows life; by this process's clock alone, since those of machines differ."""
        heard, last = self._clock(), heart.felt()
        while True:
            with suppress(Timeout):
                lock.acquire(timeout=_POLL_S, poll_interval=_POLL_S)
                return True
            felt, now = heart.felt(), self._clock()
            if felt != last:
                heard, last = now, felt
            if now - heard > max(self._settings.patience_s, 2 * last[1]):
                return False

    def _remove(self, key: str) -> bool:
        lock = FileLock(self.folder / f"{key}.lock")
        try:
            with lock.acquire(timeout=0):
                shutil.rmtree(self.folder / key, ignore_errors=True)
                return not (self.folder / key).exists()
        except (Timeout, OSError):
            return False

    def _sweep(self) -> None:
        """Remove what killed processes left, and the locks of entries that went long ago; a lock that is held stays."""
        now = time.time()
        for path in (*self.folder.glob("*.lock"), *self.folder.glob("*.beat"), *self.folder.glob(".*")):
            with suppress(OSError, Timeout):
                if now - path.stat().st_mtime <= _OLD_LOCK_S or (self.folder / path.stem).is_dir():
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                    continue
                with FileLock(path.with_suffix(".lock"), timeout=0):
                    path.unlink()
                    path.with_suffix(".lock").unlink(missing_ok=True)

    def _warn(self, text: str) -> None:
        _logger.warning(text)
        self.warnings.append(text)


def _write(place: Path, key: str, result: StageResult) -> None:
    save_model(result.model, place / MODEL)
    (place / USED).touch()
    content = {
        "format": FORMAT,
        "key": key,
        "epochs": [dict(figures) for figures in result.epochs],
        "records": dict(result.records),
        "seconds": result.seconds,
        "observed": result.observed,
    }
    write_atomic(place / RECORD, json.dumps({**content, "sha256": digest_of_json(content)}).encode())
    place.chmod(0o755)


def _opened(path: Path, key: str) -> dict[str, Any]:
    record = read_json(path, "format", "key", "epochs", "records", "seconds", "observed", "sha256")
    content = {name: value for name, value in record.items() if name != "sha256"}
    if record["sha256"] != digest_of_json(content) or (record["format"], record["key"]) != (FORMAT, key):
        raise IntegrityError(f"{path}: its checksum does not match")
    return record


class _Heart:
    """The sign of life of the one who trains a stage."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = time.monotonic()

    def beat(self) -> None:
        """An epoch is done."""
        now = time.monotonic()
        with suppress(OSError):
            self._path.write_text(f"{now - self._last:.3f}", encoding="utf-8")
        self._last = now

    def felt(self) -> tuple[int, float]:
        """A number that is another one after every beat, and how many seconds the last epoch took; zeros where none has ended."""
        try:
            return self._path.stat().st_mtime_ns, float(self._path.read_text(encoding="utf-8") or 0)
        except (OSError, ValueError):
            return 0, 0.0
