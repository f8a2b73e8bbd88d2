"""How long the front of a very large study takes to pull out of MLflow: the first read, and those after it.

    python benchmarks/front_scale.py [--runs 10000] [--folder DIR] [--server]

Makes a store with one study of that many child runs, each with 60 metrics, 16 parameters and 8 tags as the default search logs
them. Logging them one by one takes 147 s per 1,000 runs; so one trial is tracked for real and its rows are copied within the
sqlite file under new run ids, with other values. The store is kept in the folder and used again.
With --server the store is read through `mlflow server`, which is started and ended here, and not from its file.
"""

import argparse
import shutil
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np

from paretolens.mlflow.front import Front, front, rank_trials
from paretolens.mlflow.names import UPDATED, TrialState
from paretolens.mlflow.store import check_store
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.mlflow.ui import free_port, server

STUDY = "scale"
OBJECTIVES = ("accuracy", "latency_ms", "eps")


def build(path: Path, runs: int) -> str:
    """A store with one study; returns its URI."""
    uri = check_store(f"sqlite:///{path}")
    metrics = dict.fromkeys((*OBJECTIVES, "size_mb", "parameters", *(f"extra_{i}" for i in range(55))), 0.5)
    with MlflowTracker(tracking_uri=uri, spool=None) as tracker:
        tracker.start_study(StudyInfo(name=STUDY))
        tracker.start_trial("trial-0000", params={f"knob_{i}": i for i in range(16)}, genome="0" * 16)
        tracker.finish_trial("trial-0000", TrialState.COMPLETE, metrics=metrics)
    connection = sqlite3.connect(path)
    with connection:
        _copy(connection, runs - 1)
    connection.close()
    return uri


def _copy(connection: sqlite3.Connection, copies: int) -> None:
    """Copy the one trial's rows, with random values of the objectives."""
    (template,) = connection.execute("SELECT run_uuid FROM runs WHERE name = 'trial-0000'").fetchone()
    values = np.random.default_rng(0).random((copies, len(OBJECTIVES)))
    ids = [uuid.uuid4().hex for _ in range(copies)]
    for table in ("runs", "tags", "params", "latest_metrics", "metrics"):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        place = columns.index("run_uuid")
        rows = connection.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (template,)).fetchall()
        copied = [(*row[:place], run, *row[place + 1 :]) for run in ids for row in rows]
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", copied)
    names = [(f"trial-{number:05d}", run) for number, run in enumerate(ids, start=1)]
    connection.executemany("UPDATE runs SET name = ? WHERE run_uuid = ?", names)
    connection.executemany("UPDATE tags SET value = ? WHERE run_uuid = ? AND key = 'paretolens.trial'", names)
    for column, objective in enumerate(OBJECTIVES):
        changed = [(float(value), run, objective) for value, run in zip(values[:, column], ids, strict=True)]
        connection.executemany("UPDATE latest_metrics SET value = ? WHERE run_uuid = ? AND key = ?", changed)
    # each ended 1 s after the one before
    own = "SELECT value FROM latest_metrics WHERE run_uuid = ? AND key = ?"
    (stamp,) = connection.execute(own, (template, UPDATED)).fetchone()
    stamps = [(stamp - 1000 * number, run, UPDATED) for number, run in enumerate(ids, start=1)]
    connection.executemany("UPDATE latest_metrics SET value = ? WHERE run_uuid = ? AND key = ?", stamps)


def timed(label: str, action: Callable[[], Front]) -> Front:
    """Do it and say how long it took."""
    begun = time.perf_counter()
    found = action()
    print(f"{label:<34} {time.perf_counter() - begun:6.2f} s   {len(found.trials)} trials, {len(found.members)} on the front")
    return found


def main() -> None:
    """Build, read, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--server", action="store_true")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="paretolens-scale-"))
    path = (folder / f"scale-{options.runs}.db").absolute()
    begun = time.perf_counter()
    uri = f"sqlite:///{path}" if path.exists() else build(path, options.runs)
    print(f"{'store':<34} {time.perf_counter() - begun:6.2f} s   {path}")
    if not options.server:
        measure(uri, folder / "cache")
    else:
        with server(uri, port=free_port()) as address:
            measure(address, folder / "server-cache")
    if not options.folder:
        shutil.rmtree(folder)


def measure(uri: str, cache: Path) -> None:
    """First read, later reads, and what they are made of."""
    shutil.rmtree(cache, ignore_errors=True)
    print(f"\n{uri.partition(':')[0]}")
    whole = timed("first read", lambda: front(STUDY, tracking_uri=uri, cache=cache))
    for _ in range(2):
        again = timed("later read", lambda: front(STUDY, tracking_uri=uri, cache=cache))
    assert again.members["run_id"].tolist() == whole.members["run_id"].tolist()
    table = again.trials.drop(columns=["rank", "crowding", "pareto", "knee", "tied_with"])
    for count in (2, 3, 4):
        axes = dict(list({"accuracy": "max", "latency_ms": "min", "eps": "max", "size_mb": "min"}.items())[:count])
        timed(f"  sorting alone, {count} objectives", lambda axes=axes: rank_trials(table, axes))
    begun = time.perf_counter()
    again.history()
    print(f"{'  hypervolume after each trial':<34} {time.perf_counter() - begun:6.2f} s")


if __name__ == "__main__":
    main()
