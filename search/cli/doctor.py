"""Tell what this machine has (GPU, TensorRT, runtimes, memory, disk, Ray, MLflow store) and what that means for a search."""

import argparse
import importlib.metadata
import platform
import shutil
import sys

from paretolens.machine import usable_cores
from paretolens.search import environment
from paretolens.search.cli.common import add_workspace, make_console, workspace_of
from paretolens.search.cli.values import tracking_uri

__all__ = ["add_arguments", "run"]

_LIBRARIES = ("torchvision", "ray", "optuna", "mlflow", "onnx", "torch-pruning", "captum", "timm", "av")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--tracking-uri", type=tracking_uri, metavar="URI", help="MLflow store to check")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Look and print; exit code 1 if a search could not run here."""
    from rich.table import Table

    workspace = workspace_of(options)
    uri = options.tracking_uri or environment.default_tracking_uri() or workspace.tracking_uri
    rows = [*_machine(), *_runtimes(), *_libraries(), _workspace(workspace), _store(uri)]
    table = Table(pad_edge=False, show_header=True)
    for name in ("", "what", "found", "what that means"):
        table.add_column(name)
    for good, what, found, meaning in rows:
        table.add_row({True: "[green]ok[/]", False: "[red]no[/]", None: "[yellow]-[/]"}[good], what, found, meaning)
    make_console().print(table)
    return 1 if any(good is False for good, *_ in rows) else 0


Row = tuple[bool | None, str, str, str]


def _machine() -> list[Row]:
    import psutil

    cores = usable_cores()
    memory = psutil.virtual_memory().available / 2**30
    return [
        (sys.version_info >= (3, 11), "Python", platform.python_version(), "3.11 or newer is needed"),
        (True, "CPU cores", str(cores), f"--workers {cores} trains as many students at a time, one core each"),
        (memory > 4, "memory", f"{memory:.1f} GiB free", "more than 4 GiB is needed: every worker holds its own copy of torch"),
    ]


def _runtimes() -> list[Row]:
    from paretolens.evaluators.latency import Backend, probe

    found = probe()
    rows: list[Row] = [
        (
            True if found.gpus else None,
            "GPU",
            ", ".join(found.gpus) or "none",
            "models train on it, shared evenly by the workers (search.gpus_per_worker); engines are built and timed on it"
            if found.gpus
            else "models are trained and timed on the CPU",
        )
    ]
    for entry in found.backends:
        versions = ", ".join(entry.versions) or "not found"
        chosen = entry is found.auto
        meaning = "latency back end of this machine (auto)" if chosen else "usable" if entry.usable else entry.reason
        needed = entry.backend is Backend.ONNXRUNTIME
        rows.append((True if entry.usable else False if needed else None, str(entry.backend), versions, meaning))
    return rows


def _libraries() -> list[Row]:
    rows: list[Row] = []
    for name in _LIBRARIES:
        try:
            rows.append((True, name, importlib.metadata.version(name), ""))
        except importlib.metadata.PackageNotFoundError:
            rows.append((False, name, "missing", "run 'make setup'"))
    return rows


def _workspace(workspace: object) -> Row:
    from paretolens.errors import StoreError
    from paretolens.search.workspace import Workspace

    assert isinstance(workspace, Workspace)
    try:
        workspace.ensure_writable()
    except StoreError as error:
        return (False, "workspace", str(workspace.root), str(error))
    free = shutil.disk_usage(workspace.root).free / 2**30
    return (True, "workspace", str(workspace.root), f"{free:.1f} GiB free")


def _store(uri: str) -> Row:
    from paretolens.errors import StoreError
    from paretolens.mlflow.store import check_store, without_password

    try:
        return (True, "MLflow store", without_password(check_store(uri)), "reachable and writable")
    except StoreError as error:
        return (False, "MLflow store", without_password(uri), str(error))
