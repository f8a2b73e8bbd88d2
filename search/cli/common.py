"""Flags and output that several commands share."""

import argparse
import os
from pathlib import Path

from rich.console import Console

from paretolens.search import environment
from paretolens.search.workspace import Workspace

__all__ = ["add_configuration", "add_study", "add_workspace", "calm_threads", "make_console", "workspace_of"]


def add_workspace(parser: argparse.ArgumentParser) -> None:
    """`--workspace`."""
    parser.add_argument(
        "--workspace", type=Path, default=environment.default_workspace(), metavar="DIR",
        help="folder of studies, caches and the default store (default: %(default)s)",
    )  # fmt: skip


def add_study(parser: argparse.ArgumentParser) -> None:
    """The study to look at."""
    parser.add_argument("study", nargs="?", help="name of the study (default: the one touched last)")


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """`--preset`, `--config`, `--set`."""
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="built-in configuration: 'default' is quick, 'full' has 96 trials and 128 explained clips",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file over the preset")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments",
        help="set one key, for example --set space.width=[32,64]; may be given several times",
    )  # fmt: skip


def workspace_of(options: argparse.Namespace) -> Workspace:
    """The workspace the flags name."""
    return Workspace.at(options.workspace)


def make_console() -> Console:
    """Where output goes; wide enough for a table when it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def calm_threads() -> None:
    """Let waiting threads sleep instead of spin; must come before torch is imported.

    On a machine with other work on its cores, spinning threads made a training step eight times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
