"""Compare samplers and schedulers without training: replay a recorded search, or NAS-Bench-201, on a virtual clock.

  paretolens replay --record mine --output mine.json     write a finished study down as a table
  paretolens replay mine.json --seeds 20                  compare samplers on it
  paretolens replay nasbench201:cifar10 --trials 200      the same on 15,625 networks trained by others

A genome that the table does not hold is answered by a model of the table; how far such answers are off is printed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paretolens.errors import ConfigurationError
from paretolens.search.cli import values
from paretolens.search.cli.common import add_workspace, make_console, workspace_of
from paretolens.search.strategies import GENETIC, Sampler, Scheduler

if TYPE_CHECKING:
    from rich.console import Console

    from paretolens.search.replay import Contender, Score, Source, Table

__all__ = ["add_arguments", "run"]

PLAIN = "-plain"
NASBENCH = "nasbench201:"
SAMPLERS = (*Sampler, *(f"{sampler}{PLAIN}" for sampler in Sampler if sampler in GENETIC))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("table", nargs="?", help="a table written by --record, or nasbench201:cifar10, :cifar100 or :imagenet")
    parser.add_argument("--record", metavar="STUDY", help="write this study down as a table instead")
    parser.add_argument(
        "--output", type=values.output_file, metavar="FILE",
        help="where --record writes; folders that are missing are made (default: STUDY.json)",
    )  # fmt: skip
    parser.add_argument(
        "--samplers", type=values.choices(SAMPLERS), default="nsga2,nsga2-plain,tpe,random", metavar="LIST",
        help="nsga2, nsga3, tpe, gp, random; with -plain a genetic one goes without pre-selection (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--schedulers", type=values.choices(tuple(Scheduler)), default="none", metavar="LIST",
        help="none, halving (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=values.whole(1), default=10, metavar="N", help="repetitions (default: %(default)s)")
    parser.add_argument(
        "--trials", type=values.whole(1), default=24, metavar="N", help="budget of each search (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=values.whole(1), default=2, metavar="N", help="trials that run at once (default: %(default)s)"
    )
    parser.add_argument("--population", type=values.whole(2), metavar="N", help="population (default: sized to the budget)")
    parser.add_argument(
        "--reduction", type=values.whole(2), default=3, metavar="N", help="of halving: the best 1/N go on (default: %(default)s)"
    )
    parser.add_argument(
        "--grace-epochs", type=values.whole(1), default=2, metavar="N", help="of halving: never sooner (default: %(default)s)"
    )
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Record or replay."""
    if options.record:
        return _record(options)
    if not options.table:
        raise ConfigurationError("name a table to replay, or a study to --record; see 'paretolens replay --help'")
    from paretolens.search.replay import Source, compare

    contenders = _contenders(options)
    console, source = make_console(), Source(_table(options.table))
    _describe(console, source, options.schedulers)
    marks = sorted({mark for mark in (24, 50, 100, 200) if mark < options.trials} | {options.trials})
    with console.status("replaying") as status:
        scores = compare(source, contenders, seeds=options.seeds, marks=marks, progress=status.update)
    _show(console, scores, marks)
    return 0


def _record(options: argparse.Namespace) -> int:
    from paretolens.search.replay import record_study, write_table
    from paretolens.search.study import OBJECTIVE_AXES, load_study

    study = load_study(workspace_of(options), options.record)
    table = record_study(study.folder, study.config, OBJECTIVE_AXES)
    path = options.output or Path(f"{study.name}.json")
    write_table(table, path)
    curves = sum(bool(row.reports) for row in table.rows)
    make_console().print(f"{len(table.rows)} trials, {curves} of them with their epochs, in {path}", highlight=False)
    return 0


def _table(name: str) -> "Table":
    from paretolens.search.replay import read_table
    from paretolens.search.replay.nasbench import nasbench_table

    return nasbench_table(name.removeprefix(NASBENCH)) if name.startswith(NASBENCH) else read_table(Path(name))


def _contenders(options: argparse.Namespace) -> "list[Contender]":
    from paretolens.search import schema
    from paretolens.search.replay import Contender
    from paretolens.search.settings import EngineSettings

    contenders = []
    for sampler in options.samplers:
        for scheduler in options.schedulers:
            tree = {
                "sampler": sampler.removesuffix(PLAIN), "preselect": not sampler.endswith(PLAIN), "scheduler": scheduler,
                "trials": options.trials, "workers": options.workers, "population": options.population,
                "halving": {"reduction": options.reduction, "grace_epochs": options.grace_epochs},
            }  # fmt: skip
            settings = schema.build(EngineSettings, tree, path=("search",))
            contenders.append(Contender(name=sampler if scheduler == "none" else f"{sampler} + {scheduler}", settings=settings))
    return contenders


def _describe(console: "Console", source: "Source", schedulers: Sequence[str]) -> None:
    table = source.table
    names = ", ".join(f"{objective.name} ({'max' if objective.maximise else 'min'})" for objective in table.objectives)
    console.print(f"{table.name}: {len(table.rows):,} genomes; {names}", highlight=False)
    if source.held_out:
        told = ", ".join(f"{name} {share:.2f}" for name, share in source.held_out.items())
        console.print(f"Other genomes are guessed. Variance explained on held-out trials (1 = perfect, 0 = the mean): {told}")
    if Scheduler.HALVING in schedulers and not any(row.reports for row in table.rows):
        console.print("The table holds no epochs: halving stops nothing here.")


def _show(console: "Console", scores: "Sequence[Score]", marks: Sequence[int]) -> None:
    from rich.table import Table

    table = Table(
        title="share of the table's hypervolume, mean ± standard error over the seeds", title_justify="left", pad_edge=False
    )
    table.add_column("search")
    for mark in marks:
        table.add_column(f"after {mark}", justify="right")
    for share in ("1/4", "1/2", "all"):
        table.add_column(f"at {share} of time", justify="right")
    for name in ("trained", "time s", "ms a trial"):
        table.add_column(name, justify="right")
    for score in scores:
        cells = [_mean(column) for column in (*score.after.T, *score.at.T)]
        rest = [f"{score.evaluated.mean():.1f}", f"{score.seconds.mean():.0f}", f"{score.milliseconds:.0f}"]
        table.add_row(score.name, *cells, *rest)
    console.print(table)


def _mean(values: "Sequence[float]") -> str:
    import numpy as np

    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{np.mean(values):.3f} ± {error:.3f}"
