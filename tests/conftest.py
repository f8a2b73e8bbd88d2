"""What every test is given."""

import importlib.util
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from paretolens.search.limits import THREAD_VARIABLES

# Before any numerical library is imported, and for every process that a test starts: as many processes of tests run as there are
# cores and one more, so that further threads would only wait for each other, and spin while they do.
os.environ.update({name: os.environ.get(name, "1") for name in THREAD_VARIABLES} | {"OMP_WAIT_POLICY": "passive"})


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of servers, browsers and killed processes wait a good part of their time."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def _mlflow_environment_stays() -> Iterator[None]:
    """`mlflow.set_tracking_uri` writes MLFLOW_TRACKING_URI; no test may hand its store on to the next one's processes."""
    before = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    yield
    for name in [name for name in os.environ if name.startswith("MLFLOW_") and name not in before]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def gpu() -> ModuleType:
    """`with gpu.pretended_gpu():` models and tensors can be sent to `gpu.CUDA`; see there."""
    spec = importlib.util.spec_from_file_location("pretended_gpu", Path(__file__).with_name("pretended_gpu.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests run last, so that a fault in the fast ones shows at once; those with most of them first."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (item.path in slow, -slow[item.path]))
