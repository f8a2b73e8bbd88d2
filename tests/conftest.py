"""What every test is given."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _mlflow_environment_stays() -> Iterator[None]:
    """`mlflow.set_tracking_uri` writes MLFLOW_TRACKING_URI; no test may hand its store on to the next one's processes."""
    before = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    yield
    for name in [name for name in os.environ if name.startswith("MLFLOW_") and name not in before]:
        del os.environ[name]
    os.environ.update(before)
