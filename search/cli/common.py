"""Flags and output that several commands share."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretolens.mlflow.objectives import DEFAULT_OBJECTIVES
from paretolens.search import environment
from paretolens.search.cli import values
from paretolens.search.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console

    from paretolens.mlflow.records import StudyRecord
    from paretolens.search.config import Config

__all__ = [
    "add_configuration",
    "add_front_options",
    "add_outputs",
    "add_question",
    "add_selection",
    "add_store_options",
    "add_study",
    "add_workspace",
    "calm_threads",
    "configuration_of",
    "make_console",
    "name_studies",
    "read_studies",
    "require_studies",
    "say_written",
    "workspace_of",
]


def add_workspace(parser: argparse.ArgumentParser) -> None:
    """`--workspace`."""
    parser.add_argument(
        "--workspace", type=Path, default=environment.default_workspace(), metavar="DIR",
        help="folder of studies, caches and the default store (default: %(default)s)",
    )  # fmt: skip


def add_study(parser: argparse.ArgumentParser, *, needed: bool = True) -> None:
    """The study to look at; unless it is needed, there may be none at all."""
    parser.add_argument("study", nargs="?", help="name of the study (default: the one touched last)")
    name_studies(parser, lambda options: [options.study] if needed or options.study else [])


def name_studies(parser: argparse.ArgumentParser, names: "Callable[[argparse.Namespace], Sequence[str | None]]") -> None:
    """Say which studies of the workspace a command line means, None for the one touched last; see `require_studies`."""
    parser.set_defaults(named_studies=names)


def require_studies(options: argparse.Namespace) -> None:
    """Find out before anything slow is imported that a study of the workspace is not there.

    Raises:
        ConfigurationError: it isn't; the nearest is named.
    """
    if getattr(options, "tracking_uri", None):
        return  # the names are those of another store
    for name in options.named_studies(options) if hasattr(options, "named_studies") else ():
        workspace_of(options).chosen(name)


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """`--preset`, `--config`, `--set`."""
    parser.add_argument(
        "--preset", type=values.preset, metavar="NAME",
        help="built-in configuration: 'default' is quick, 'full' has 96 trials and 128 explained clips",
    )  # fmt: skip
    parser.add_argument("--config", type=values.config_file, metavar="FILE", help="YAML file over the preset")
    parser.add_argument(
        "--set", action="append", type=values.assignment, default=[], metavar="KEY=VALUE", dest="assignments",
        help="set one key, for example --set space.width=[32,64]; may be given several times",
    )  # fmt: skip


def configuration_of(
    options: argparse.Namespace, *, preset: str = "default", flags: "Mapping[str, Any] | None" = None
) -> "Config":
    """The configuration that the flags of `add_configuration` make, and those of the command's own in `flags`.

    Args:
        options: The command line.
        preset: What to begin from where `--preset` is not given.
        flags: Keys that the command's own flags set, over all else.

    Raises:
        ConfigurationError: anything about it is wrong.
    """
    from paretolens.search.config import load_config

    return load_config(preset=options.preset or preset, file=options.config, assignments=options.assignments, flags=flags or {})


def add_front_options(parser: argparse.ArgumentParser) -> None:
    """What to trade off, among which trials of which studies, and where they are."""
    add_store_options(parser)
    parser.add_argument("--force", action="store_true", help="put studies together even if they were measured differently")


def add_question(parser: argparse.ArgumentParser) -> None:
    """What to trade off, and among which trials."""
    parser.add_argument(
        "--objectives", type=values.objectives, default=",".join(DEFAULT_OBJECTIVES), metavar="A,B:min,…",
        help="metrics to trade off, with :min or :max where it is not the usual (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--where", type=values.filter_text, metavar="EXPR",
        help="only trials that fulfil this, such as 'latency_ms < 5 and eps > .6'",
    )  # fmt: skip


def add_selection(
    parser: argparse.ArgumentParser, *, default: str, several: str = "", what: str = "", filtered: bool = False
) -> None:
    """`--select`: a member of the front.

    Args:
        parser: takes the flag.
        default: what is meant where it is not given.
        several: the word for all members; without one, one model is needed and such words are refused.
        what: what the member is for.
        filtered: with `--where`, which narrows what there is to choose from.
    """
    if filtered:
        parser.add_argument(
            "--where",
            type=values.filter_text,
            metavar="EXPR",
            help="choose among trials that fulfil this, such as 'latency_ms < 5'",
        )
    parser.add_argument(
        "--select", type=str if several else values.one_member, default=default, metavar="WHICH",
        help=f"{what}knee, fastest, most-faithful, most-accurate, {several and several + ', '}or a trial such as 12 "
        "(default: %(default)s)",
    )  # fmt: skip


def add_outputs(parser: argparse.ArgumentParser, what: str, *kinds: str) -> None:
    """`--csv FILE` and the like."""
    for kind in kinds:
        parser.add_argument(
            f"--{kind}", type=values.output_file, metavar="FILE",
            help=f"also write {what} as {kind.upper()}; folders that are missing are made",
        )  # fmt: skip


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """What to trade off, among which trials, and where they are."""
    add_question(parser)
    parser.add_argument(
        "--tracking-uri", type=values.tracking_uri, metavar="URI",
        help="read studies from this MLflow store, by name or run id",
    )  # fmt: skip
    parser.add_argument("--experiment", default="paretolens", help="MLflow experiment in that store (default: %(default)s)")
    parser.add_argument("--refresh", action="store_true", help="read every run again (of large studies, ended runs are kept)")


def read_studies(options: argparse.Namespace, names: "Sequence[str | None]") -> "list[StudyRecord]":
    """The studies that a command line names: of the workspace, or of the store that `--tracking-uri` names.

    Raises:
        ConfigurationError: the workspace has no such study, or a store was named but no study.
        StoreError: the store can't be read or doesn't know the study.
    """
    from paretolens.errors import ConfigurationError
    from paretolens.mlflow.records import read_study
    from paretolens.search.study import load_study

    workspace = workspace_of(options)
    reading = {"cache": workspace.cache / "tracking", "refresh": options.refresh}
    if options.tracking_uri:
        if None in names:
            raise ConfigurationError("--tracking-uri: name the study too, as in 'paretolens front STUDY --tracking-uri URI'")
        place = {"tracking_uri": options.tracking_uri, "experiment": options.experiment}
        return [read_study(str(name), **place, **reading) for name in names]
    studies = [load_study(workspace, name) for name in names]
    return [
        read_study(study.run_id(), tracking_uri=study.uri, experiment=study.config.tracking.experiment, **reading)
        for study in studies
    ]


def workspace_of(options: argparse.Namespace) -> Workspace:
    """The workspace the flags name."""
    return Workspace.at(options.workspace)


def make_console() -> "Console":
    """Where output goes; wide enough for a table when it is no terminal."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)


def say_written(console: "Console", *paths: Path | None) -> None:
    """Where files went: folders that were missing have been made."""
    for path in filter(None, paths):
        console.print(f"wrote {path.absolute()}", highlight=False, soft_wrap=True, markup=False)


def calm_threads() -> None:
    """Let waiting threads sleep instead of spin, and oneDNN keep what it compiled; must come before torch is imported.

    On a machine with other work on its cores, spinning threads made a training step eight times slower.
    """
    from paretolens.search.limits import KERNEL_CACHE

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    for name, value in KERNEL_CACHE.items():
        os.environ.setdefault(name, value)
