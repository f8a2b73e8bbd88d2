"""Write a study's Pareto explorer: one HTML page, opened by any browser without a network, to choose a model from the front.

The search writes the same page at its end and logs it to the study's run, where the MLflow UI shows it under Artifacts, front.
"""

import argparse
import webbrowser

from paretolens.search.cli import values
from paretolens.search.cli.common import add_question, add_study, add_workspace, make_console, workspace_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_study(parser)
    parser.add_argument(
        "--output", type=values.output_file, metavar="FILE",
        help="where the page goes; folders that are missing are made (default: front.html in the study)",
    )  # fmt: skip
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    add_question(parser)
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    from paretolens.mlflow.explorer import write_explorer
    from paretolens.search.finish import pull_front
    from paretolens.search.study import load_study

    study = load_study(workspace_of(options), options.study)
    page = write_explorer(pull_front(study, options.objectives, options.where), options.output or study.folder / "front.html")
    size = page.stat().st_size / 1e6
    make_console().print(f"{page.absolute()}  ({size:.1f} MB)", highlight=False, soft_wrap=True)
    if options.open and not webbrowser.open(page.absolute().as_uri()):
        make_console().print("no browser could be started here: open the file in one yourself", highlight=False)
    return 0
