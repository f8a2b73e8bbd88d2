"""The only place that reads environment variables of ours."""

import os
from pathlib import Path

__all__ = ["debug", "default_tracking_uri", "default_workspace"]


def debug() -> bool:
    """PARETOLENS_DEBUG: show tracebacks and debug logs."""
    return bool(os.environ.get("PARETOLENS_DEBUG"))


def default_workspace() -> Path:
    """PARETOLENS_WORKSPACE: the folder of studies, caches and the default store; `runs` in the current folder if unset."""
    return Path(os.environ.get("PARETOLENS_WORKSPACE") or "runs")


def default_tracking_uri() -> str | None:
    """MLFLOW_TRACKING_URI, the variable MLflow's own users set; None means the workspace's sqlite store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or None
