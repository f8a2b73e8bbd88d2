"""Figures that are added to a run after it has ended."""

import time
from collections.abc import Mapping

from paretolens.errors import StoreError
from paretolens.mlflow.names import finite
from paretolens.mlflow.store import one_line, open_client, without_password

__all__ = ["add_metrics"]


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
