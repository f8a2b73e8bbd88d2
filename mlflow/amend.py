"""Figures and files that are added to a run after it has ended."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from paretolens.errors import StoreError
from paretolens.mlflow.names import finite
from paretolens.mlflow.store import one_line, open_client, without_password

__all__ = ["add_files", "add_metrics"]


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


def add_metrics(run_id: str, metrics: Mapping[str, float], *, tracking_uri: str) -> None:
    """Log metrics on a run, whatever its state; those that are not finite are left out.

    Raises:
        StoreError: the store cannot be written or does not know the run.
    """
    from mlflow.entities import Metric

    now, (kept, _) = int(time.time() * 1000), finite(metrics)
    try:
        open_client(tracking_uri).log_batch(run_id, metrics=[Metric(name, value, now, 0) for name, value in kept.items()])
    except Exception as error:
        raise StoreError(f"tracking store {without_password(tracking_uri)}: {one_line(error)}") from error
