"""Show the Pareto front of a study, or of several together, read back from MLflow; write it as CSV, JSON, PNG or HTML."""

import argparse
from typing import TYPE_CHECKING

from paretolens.search.cli.common import (
    add_front_options,
    add_outputs,
    add_workspace,
    make_console,
    name_studies,
    read_studies,
    say_written,
)

if TYPE_CHECKING:
    from rich.console import Console

    from paretolens.mlflow.records import StudyRecord

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "studies", nargs="*", metavar="STUDY",
        help="name of the study (default: the one touched last); several are merged into one front, trials named STUDY/TRIAL",
    )  # fmt: skip
    name_studies(parser, lambda options: options.studies or [None])
    add_front_options(parser)
    parser.add_argument("--columns", action="store_true", help="list every metric and knob that can be asked for, and no front")
    add_outputs(parser, "the front", "csv", "json", "png", "html")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Print the front, or what may be asked for."""
    from paretolens.mlflow.listing import listing_table
    from paretolens.mlflow.records import merge_studies

    records, console = read_studies(options, options.studies or [None]), make_console()
    if options.columns:
        console.print(listing_table(merge_studies(records).trials))
        return 0
    return _show(records, options, console)


def _show(records: "list[StudyRecord]", options: argparse.Namespace, console: "Console") -> int:
    from paretolens.exporters.files import write_atomic
    from paretolens.mlflow.comparable import require_comparable
    from paretolens.mlflow.explorer import write_explorer
    from paretolens.mlflow.front import front_of
    from paretolens.mlflow.plots import draw_png
    from paretolens.mlflow.records import merge_studies
    from paretolens.mlflow.table import rich_table, to_csv, to_json
    from paretolens.search.finish import require_members

    if not options.force:
        require_comparable(records, options.objectives)
    found = front_of(records[0] if len(records) == 1 else merge_studies(records), options.objectives, options.where)
    require_members(found)
    console.print(rich_table(found, width=console.width))
    for note in found.notes:
        console.print(note, style="yellow", highlight=False)
    for path, text in ((options.csv, to_csv), (options.json, to_json)):
        if path:
            write_atomic(path, text(found).encode())
    for path, draw in ((options.png, draw_png), (options.html, write_explorer)):
        if path:
            draw(found, path)
    say_written(console, options.csv, options.json, options.png, options.html)
    return 0
