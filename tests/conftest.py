"""What every test is given."""

import importlib.util
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from filelock import FileLock

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


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of a run of the tests, for what is made once under a lock."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def new_store(shared_folder: Path) -> Callable[[Path], str]:
    """Make a sqlite store at a path: a copy of an empty one, since MLflow takes seconds to make its tables."""
    from paretolens.mlflow.store import check_store, open_client

    empty = shared_folder / "empty.db"

    def made(path: Path) -> str:
        with FileLock(empty.with_suffix(".lock")):
            if not empty.exists():
                open_client(f"sqlite:///{empty.with_suffix('.new')}", create=True)
                empty.with_suffix(".new").rename(empty)
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(empty)) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)
        return check_store(f"sqlite:///{path}")

    return made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests run last, so that a fault in the fast ones shows at once; those with most of them first."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (item.path in slow, -slow[item.path]))
