"""Show the Pareto front of a study, or of several together, read back from MLflow; write it as CSV, JSON, PNG or HTML."""

import argparse
from pathlib import Path

from paretolens.search.cli.common import add_front_options, add_workspace, make_console, read_studies, say_written

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "studies", nargs="*", metavar="STUDY",
        help="name of the study (default: the one touched last); several are merged into one front, trials named STUDY/TRIAL",
    )  # fmt: skip
    add_front_options(parser)
    for kind in ("csv", "json", "png", "html"):
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"also write the front as {kind.upper()}")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Print the front."""
    from paretolens.exporters.files import write_atomic
    from paretolens.mlflow.comparable import require_comparable
    from paretolens.mlflow.explorer import write_explorer
    from paretolens.mlflow.front import front_of
    from paretolens.mlflow.objectives import DEFAULT_OBJECTIVES, parse_objectives
    from paretolens.mlflow.plots import draw_png
    from paretolens.mlflow.records import merge_studies
    from paretolens.mlflow.table import rich_table, to_csv, to_json
    from paretolens.search.finish import require_members

    objectives = DEFAULT_OBJECTIVES if options.objectives is None else parse_objectives(options.objectives)
    records = read_studies(options, options.studies or [None])
    if not options.force:
        require_comparable(records, objectives)
    found = front_of(records[0] if len(records) == 1 else merge_studies(records), objectives, options.where)
    require_members(found)
    console = make_console()
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
