"""The children of a study, of which only what changed since the last read is fetched again.

A large study takes a store many seconds to hand over (10,000 runs: see benchmarks/front_scale.py), and hardly any of it changes
from one look to the next. Runs that have ended are therefore kept in a file, and three questions are asked of the store: which
runs are running, which bear a stamp (`names.UPDATED`) newer than the newest one known, and which were deleted. Runs that were
seen but not kept, since they ran or nobody stamped them, are fetched by their ids. Everything that Paretolens writes to an ended
run stamps it. What another program writes into an ended run is seen with `refresh` only.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretolens.errors import StoreError
from paretolens.exporters.files import write_atomic
from paretolens.mlflow.names import PARENT_TAG, UPDATED, Tag
from paretolens.mlflow.runs import Row, run_row
from paretolens.mlflow.store import one_line, search_runs

__all__ = ["SMALLEST_CACHED", "cache_file", "read_children"]

_log = logging.getLogger(__name__)

SMALLEST_CACHED = 500
"""Studies with fewer runs are read whole: that takes a second, and leaves no file behind."""
_FORMAT = 2
_MARGIN_MS = 2_000
"""Stamps of two writers may arrive in another order than they were made in."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What an earlier read left."""

    newest_ms: int = 0
    rows: dict[str, Row] = field(default_factory=dict)
    pending: tuple[str, ...] = ()
    """Runs that were seen without being kept."""


def cache_file(folder: Path, parent: str) -> Path:
    """Where the ended runs of a study are kept; safe to delete."""
    return folder / f"{parent}.jsonl"


def read_children(client: Any, parent: Any, *, folder: Path | None, refresh: bool = False) -> list[Row]:
    """One row per active child of a parent run.

    Args:
        client: An `MlflowClient`.
        parent: The parent run.
        folder: Where ended runs are kept between reads; None keeps nothing.
        refresh: Read everything again.

    Raises:
        StoreError: the store can't be read.
    """
    number, children = parent.info.experiment_id, f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'"
    path = cache_file(folder, parent.info.run_id) if folder and parent.data.tags.get(Tag.STAMPED) == "true" else None
    known = _load(path) if path and not refresh else _Known()
    try:
        if not known.rows:
            runs, gone = search_runs(client, number, children), set[str]()
            rows = {run.info.run_id: run_row(run) for run in runs}
        else:
            since = known.newest_ms - _MARGIN_MS
            runs = search_runs(client, number, f"{children} and metrics.`{UPDATED}` > {since}")
            runs += search_runs(client, number, f"{children} and attributes.status = 'RUNNING'")
            runs += _fetch(client, set(known.pending) - {run.info.run_id for run in runs})
            gone = {run.info.run_id for run in search_runs(client, number, children, deleted=True)}
            rows = {**known.rows, **{run.info.run_id: run_row(run) for run in runs}}
    except Exception as error:
        raise StoreError(f"tracking store: can't be read ({one_line(error)})") from error
    if path and len(rows) >= SMALLEST_CACHED:
        _save(path, known, rows, runs)
    return [row for run_id, row in rows.items() if run_id not in gone]


def _fetch(client: Any, run_ids: Iterable[str]) -> list[Any]:
    """Runs by their ids, without those that were deleted for good."""
    from mlflow.exceptions import MlflowException

    found = []
    for run_id in sorted(run_ids):
        try:
            found.append(client.get_run(run_id))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return found


def _save(path: Path, known: _Known, rows: dict[str, Row], runs: list[Any]) -> None:
    """Keep the rows of ended runs, unless nothing changed."""
    stamps = {run.info.run_id: _stamp(run) for run in runs}
    kept = {run_id: row for run_id, row in rows.items() if stamps.get(run_id, 1) > 0}
    pending = sorted(set(rows) - set(kept))
    if kept == known.rows and pending == list(known.pending):
        return
    newest = max([known.newest_ms, *stamps.values()])
    head = json.dumps({"format": _FORMAT, "newest_ms": newest, "runs": len(kept), "pending": pending})
    try:
        write_atomic(path, ("\n".join([head, *map(json.dumps, kept.values())]) + "\n").encode())
    except StoreError as error:
        _log.warning("%s: the next read takes as long as this one", error)


def _stamp(run: Any) -> int:
    """When an ended run was last changed; 0 for one that runs, or that nobody stamped."""
    return int(run.data.metrics.get(UPDATED, 0)) if run.info.status != "RUNNING" and run.info.end_time else 0


def _load(path: Path) -> _Known:
    """What an earlier read left; nothing if that is missing, cut short or of another format."""
    try:
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        about = json.loads(head)
        if about["format"] != _FORMAT or about["runs"] != len(lines):
            raise ValueError("of another version, or cut short")
        rows = [json.loads(line) for line in lines]
        pending = tuple(str(run_id) for run_id in about["pending"])
        return _Known(newest_ms=int(about["newest_ms"]), rows={row["run_id"]: row for row in rows}, pending=pending)
    except FileNotFoundError:
        return _Known()
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s can't be used (%s): the study is read anew", path, one_line(error))
        return _Known()
