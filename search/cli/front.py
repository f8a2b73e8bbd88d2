"""Show a study's Pareto front, read back from its MLflow store; write it as CSV, JSON, PNG or HTML."""

import argparse
from pathlib import Path

from paretolens.search.cli.common import add_study, add_workspace, make_console, workspace_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_study(parser)
    parser.add_argument(
        "--objectives", metavar="A,B:min,…",
        help="metrics to trade off, with :min or :max where it is not the usual (default: accuracy, latency_ms, eps)",
    )  # fmt: skip
    parser.add_argument("--where", metavar="EXPR", help="only trials that fulfil this, such as 'latency_ms < 5 and eps > .6'")
    for kind in ("csv", "json", "png", "html"):
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"also write the front as {kind.upper()}")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Print the front."""
    from paretolens.exporters.files import write_atomic
    from paretolens.mlflow.objectives import parse_objectives
    from paretolens.mlflow.page import draw_html
    from paretolens.mlflow.plots import draw_png
    from paretolens.mlflow.table import rich_table, to_csv, to_json
    from paretolens.search.finish import pull_front, require_members
    from paretolens.search.study import load_study

    study = load_study(workspace_of(options), options.study)
    objectives = None if options.objectives is None else parse_objectives(options.objectives)
    found = pull_front(study, objectives, options.where)
    require_members(found)
    console = make_console()
    console.print(rich_table(found, width=console.width))
    for path, text in ((options.csv, to_csv), (options.json, to_json)):
        if path:
            write_atomic(path, text(found).encode())
    for path, draw in ((options.png, draw_png), (options.html, draw_html)):
        if path:
            draw(found, path)
    return 0
