"""Figures, tags and files that are added to a run after it has ended."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from paretolens.errors import StoreError
from paretolens.mlflow.names import UPDATED, finite
from paretolens.mlflow.store import one_line, open_client, without_password

__all__ = ["add_files", "add_metrics", "add_tag", "read_tag"]


def add_files(run_id: str, files: Sequence[Path], folder: str, *, tracking_uri: str) -> None:
    """Put files into a folder of a run's artefacts, whatever its state; those of the same name are replaced.

    Raises:
        StoreError: the store cannot be written or does not know the run.
    """
    client = open_client(tracking_uri)
    try:
        for path in files:
            client.log_artifact(run_id, str(path), folder)
    except Exception as error:
        raise StoreError(f"run {run_id}, {folder}: {one_line(error)}") from error


def add_metrics(run_id: str, metrics: Mapping[str, float], *, tracking_uri: str, stamped: bool = False) -> None:
    """Log metrics on a run, whatever its state; those that are not finite are left out.

    Args:
        run_id: The run.
        metrics: Values by name.
        tracking_uri: Its store.
        stamped: Of a trial: say that its run changed, so that reads which keep ended runs fetch it again.

    Raises:
        StoreError: the store cannot be written or does not know the run.
    """
    from mlflow.entities import Metric

    now, (kept, _) = time.time_ns() // 1_000_000, finite(metrics)
    stamp = {UPDATED: float(now)} if stamped else {}
    with _told(tracking_uri):
        entries = [Metric(name, value, now, 0) for name, value in {**kept, **stamp}.items()]
        open_client(tracking_uri).log_batch(run_id, metrics=entries)


def add_tag(run_id: str, name: str, value: str, *, tracking_uri: str) -> None:
    """Set a tag of a run, whatever its state.

    Raises:
        StoreError: the store cannot be written or does not know the run.
    """
    with _told(tracking_uri):
        open_client(tracking_uri).set_tag(run_id, name, value)


def read_tag(run_id: str, name: str, *, tracking_uri: str) -> str | None:
    """A tag of a run; None if it has none of that name.

    Raises:
        StoreError: the store cannot be read or does not know the run.
    """
    with _told(tracking_uri):
        value = open_client(tracking_uri).get_run(run_id).data.tags.get(name)
    return None if value is None else str(value)


@contextmanager
def _told(tracking_uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise StoreError(f"tracking store {without_password(tracking_uri)}: {one_line(error)}") from error
