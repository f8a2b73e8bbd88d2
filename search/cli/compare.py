"""Hold searches against each other: hypervolume in a common box, coverage, who dominates whom, and what they were set to.

A side may be several studies that differ in their seed only, joined by commas: 'paretolens compare a-1,a-2,a-3 b-1,b-2,b-3'.
"""

import argparse

from paretolens.search.cli.common import (
    add_front_options,
    add_outputs,
    add_workspace,
    make_console,
    name_studies,
    read_studies,
    say_written,
)

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("sides", nargs="+", metavar="STUDY", help="two studies or more; several seeds of one side as A,B,C")
    name_studies(parser, lambda options: [name for side in _sides(options) for name in side])
    add_front_options(parser)
    add_outputs(parser, "the comparison", "json", "png", "html")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Print the comparison."""
    from paretolens.exporters.files import write_atomic
    from paretolens.mlflow.compare import compare
    from paretolens.mlflow.compare_page import comparison_html
    from paretolens.mlflow.compare_plots import comparison_png
    from paretolens.mlflow.compare_table import comparison_json, comparison_lines

    found = compare(
        [read_studies(options, side) for side in _sides(options)], options.objectives, options.where, force=options.force
    )
    console = make_console()
    for line in comparison_lines(found):
        console.print(line, highlight=False, soft_wrap=isinstance(line, str))
    if options.json:
        write_atomic(options.json, comparison_json(found).encode())
    for path, draw in ((options.png, comparison_png), (options.html, comparison_html)):
        if path:
            draw(found, path)
    say_written(console, options.json, options.png, options.html)
    return 0


def _sides(options: argparse.Namespace) -> list[list[str]]:
    """Every side with the names of its studies."""
    return [[name for name in side.split(",") if name] for side in options.sides]
