"""Write a study's report: setting, teacher, front, chosen model, comparison, pictures, limits, how to reproduce it.

One HTML page and the same as Markdown, each with everything in one file. It is logged to the study's run too, where the MLflow UI
shows it under Artifacts, report. Of a study that isn't finished it says so, and reports what there is.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from paretolens.search.cli import values
from paretolens.search.cli.common import (
    add_selection,
    add_store_options,
    add_study,
    add_workspace,
    make_console,
    read_studies,
    workspace_of,
)

if TYPE_CHECKING:
    from paretolens.mlflow.front import Front

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_study(parser)
    add_selection(parser, default="knee", what="the model it is about: ")
    parser.add_argument(
        "--output", type=values.output_file, metavar="FILE",
        help="where it goes, without its ending: FILE.html and FILE.md are written; folders that are missing are made "
        "(default: report in the study's folder)",
    )  # fmt: skip
    parser.add_argument(
        "--format",
        type=values.choices(("html", "md")),
        default="html,md",
        metavar="html,md",
        help="what to write (default: %(default)s)",
    )
    parser.add_argument("--no-log", action="store_true", help="do not put it into the study's run in MLflow")
    add_store_options(parser)
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Write the report and say where it is."""
    from paretolens.errors import StoreError
    from paretolens.mlflow.front import front_of
    from paretolens.mlflow.report import log_report, write_report
    from paretolens.search.finish import choose
    from paretolens.search.limits_of_use import limits_of_use

    (record,) = read_studies(options, [options.study])
    found = front_of(record, options.objectives, options.where)
    # A study without a complete trial has a report too; only what was asked for by name must be there.
    wanted = len(found.members) or options.where or options.select != "knee"
    trial = str(choose(found, options.select)[0]["trial"]) if wanted else None
    limits = limits_of_use(record.tags.get("paretolens.data", ""))
    paths = write_report(found, _stem(options, found), formats=options.format, trial=trial, limits=limits)
    console = make_console()
    for path in paths:
        console.print(f"{path.absolute()}  ({path.stat().st_size / 1e6:.1f} MB)", highlight=False, soft_wrap=True)
    if not options.no_log:
        try:
            log_report(found, paths)
        except StoreError as error:
            console.print(f"not logged to the study's run: {error}", style="yellow", highlight=False, markup=False)
    return 0


def _stem(options: argparse.Namespace, found: "Front") -> Path:
    from paretolens.search.study import load_study

    if options.output:
        known = options.output.suffix in (".html", ".md")
        return Path(options.output.with_suffix("") if known else options.output)
    if options.tracking_uri:
        name = found.study.name if found.study else ""
        return Path("".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name) + "-report")
    return load_study(workspace_of(options), options.study).folder / "report"
