"""What a workspace keeps between studies: how much there is of each kind, and how it is removed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paretolens.errors import StoreError
from paretolens.search.lock import DRIVER_LOCK, DriverLock
from paretolens.search.workspace import Workspace

if TYPE_CHECKING:
    from paretolens.search.stage_cache import CacheSettings, StageCache

__all__ = ["KINDS", "CacheKind", "clear", "stage_cache", "survey"]

KINDS = {
    "generated": "generated clips, decoded",
    "generated-pictures": "generated pictures, decoded",
    "folder": "data sets of one's own, decoded",
    "teachers": "trained teachers",
    "outputs": "what teachers say about training clips",
    "maps": "what teachers look at in explained clips",
    "floors": "EPS of untrained students",
    "stages": "students after each stage of training",
    "references": "teachers trained again, and their EPS",
    "faithfulness": "how faithful explanations of front members are",
    "validation": "checks of EPS on studies' own models",
    "litert": "environments of LiteRT's converter and interpreter",
    "litert-files": "students converted for LiteRT",
    "tensorrt": "tactics that TensorRT measured on GPUs",
    "tracking": "ended runs, as read from tracking stores",
}
"""Folder of the cache → what is in it."""


@dataclass(frozen=True, kw_only=True)
class CacheKind:
    """All entries of one kind."""

    name: str
    """Its folder."""
    what: str
    """What is in it."""
    count: int
    """Number of entries."""
    size_bytes: int
    """What they take on disk."""
    uses: int | None
    """How often stages were used again; None where it is not counted."""
    oldest: float | None
    """Seconds since the epoch at which the entry used longest ago was used last (made, where uses are not counted)."""
    newest: float | None
    """The same of the one used last."""


def stage_cache(workspace: Workspace, settings: "CacheSettings | None" = None) -> "StageCache":
    """The trained stages of a workspace."""
    from paretolens.search.stage_cache import CacheSettings, StageCache

    return StageCache(workspace.cache / "stages", settings or CacheSettings())


def survey(workspace: Workspace) -> list[CacheKind]:
    """Every kind, also those of which there is nothing."""
    others = sorted({path.name for path in workspace.cache.glob("*") if path.is_dir()} - KINDS.keys())
    return [_survey(workspace, name) for name in (*KINDS, *others)]


def clear(workspace: Workspace, kind: str) -> tuple[int, int]:
    """Remove all entries of a kind; returns how many, and their bytes. Stages that are being read or trained stay.

    Raises:
        StoreError: another kind than stages, while a study of this workspace runs; or something cannot be removed.
    """
    if kind == "stages":
        return stage_cache(workspace).evict(0.0)
    with _no_study_running(workspace):
        before = _survey(workspace, kind)
        kept: list[str] = []
        if (workspace.cache / kind).exists():
            shutil.rmtree(workspace.cache / kind, onerror=lambda _, path, info: kept.append(f"{path} ({_reason(info[1])})"))
        after = _survey(workspace, kind)
    removed = before.count - after.count, before.size_bytes - after.size_bytes
    if kept:
        raise StoreError(
            f"cache of {kind}: removed {removed[0]} of {before.count} entries, but not {kept[0]}; mend the rights and try again"
        )
    return removed


def _survey(workspace: Workspace, name: str) -> CacheKind:
    if name == "stages":
        kept = stage_cache(workspace).entries()
        times, sizes, uses = [entry.last_used for entry in kept], [entry.size_bytes for entry in kept], sum(e.uses for e in kept)
    else:
        kept_there = [path for path in (workspace.cache / name).glob("[!.]*") if path.suffix != ".lock"]
        times, sizes, uses = [path.stat().st_mtime for path in kept_there], [_size(path) for path in kept_there], None
    return CacheKind(
        name=name, what=KINDS.get(name, "other"), count=len(sizes), size_bytes=sum(sizes), uses=uses,
        oldest=min(times, default=None), newest=max(times, default=None),
    )  # fmt: skip


def _size(entry: Path) -> int:
    return sum(path.stat().st_size for path in (entry, *entry.rglob("*")) if path.is_file())


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def _no_study_running(workspace: Workspace) -> Iterator[None]:
    held: list[DriverLock] = []
    try:
        for folder in sorted(path for path in (workspace.root / "studies").glob("*") if path.is_dir()):
            lock = DriverLock(folder / DRIVER_LOCK)
            try:
                lock.acquire()
            except StoreError as error:
                raise StoreError(f"what a running study reads is not removed: {error}") from error
            held.append(lock)
        yield
    finally:
        for lock in held:
            lock.release()
