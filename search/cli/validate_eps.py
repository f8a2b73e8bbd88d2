"""Check on a study's own teacher, most faithful student and clips that EPS measures what it says: a table of what was measured
and what was expected. Two teachers are trained again with other seeds; their EPS is kept with the study and drawn beside its
floor: the study's front.png and front.html are written again.

Finished checks are kept in the workspace's cache: an interrupted run goes on where it was. Exit code 1 if a check fails.
"""

import argparse
from typing import TYPE_CHECKING

from paretolens.errors import ConfigurationError
from paretolens.search.cli.common import add_selection, add_study, add_workspace, calm_threads, make_console, workspace_of
from paretolens.search.cli.values import whole

if TYPE_CHECKING:
    from rich.table import Table

    from paretolens.search.validate import Validation

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_study(parser)
    add_selection(parser, default="most-faithful", what="the student: ")
    parser.add_argument(
        "--clips",
        type=whole(4),
        default=16,
        metavar="N",
        help="clips of the checks that score many models (default: %(default)s)",
    )
    parser.add_argument(
        "--references", type=_references, default=2, metavar="N", help="teachers to train again; 0 = none (default: %(default)s)"
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="do finished checks again; teachers that were trained again before are scored again, but not trained",
    )
    add_workspace(parser)


def _references(text: str) -> int:
    """A number of teachers, of which one says nothing of the spread."""
    if (count := whole(0)(text)) == 1:
        raise argparse.ArgumentTypeError("'1': give 0 or at least 2; one says nothing of the spread")
    return count


def run(options: argparse.Namespace) -> int:
    """Check and print."""
    calm_threads()
    from paretolens.mlflow.amend import add_files, add_metrics
    from paretolens.search.finish import choose, pull_front, trial_folder, write_front
    from paretolens.search.progress import ConsoleSteps
    from paretolens.search.study import load_study
    from paretolens.search.task import Task
    from paretolens.search.validate import validate

    study = load_study(workspace_of(options), options.study)
    if classes := study.config.classes:
        raise ConfigurationError(
            f"study {study.name}: its models tell {', '.join(classes)}, and these checks are made for models with one logit "
            "(real or fake); 'paretolens front' and the figures of faithfulness know classes"
        )
    row = choose(pull_front(study), options.select)[0]
    console = make_console()
    steps = ConsoleSteps(console)
    console.print(f"[bold]study {study.name}[/], student of {row['trial']}", highlight=False)
    task = Task.prepare(study.config, study.workspace, steps, study=study.folder)
    found = validate(
        task, trial_folder(study, row), steps, clips=options.clips, references=options.references, again=options.again
    )
    if found.retrained is not None:
        add_metrics(study.run_id(), found.retrained.metrics(), tracking_uri=study.uri)
        files = write_front(study, pull_front(study))
        add_files(study.run_id(), [files.png, files.html, files.csv, files.json], "front", tracking_uri=study.uri)
        console.print(f"their line is drawn in {files.png}, {files.html.name} beside it", highlight=False, soft_wrap=True)
    console.print()
    console.print(_table(found))
    return 0 if found.passed else 1


def _table(found: "Validation") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(pad_edge=False, show_lines=True)
    for name in ("check", "measured", "expected", "verdict"):
        table.add_column(name, overflow="fold")
    for check in found.checks:
        style = "yellow" if check.undefined else "green" if check.passed else "bold red"
        words = f"{check.verdict}: {check.undefined}" if check.undefined else check.verdict
        table.add_row(check.name, check.measured, check.expected, f"[{style}]{escape(words)}[/]")
    return table
