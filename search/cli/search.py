"""Search for students: prepares data and teacher (cached for the next time), runs the trials, pulls the front out of MLflow,
draws it and writes its knee as a bundle.

Ctrl-C stops cleanly with the front so far; the same command with --resume goes on.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretolens.search import environment
from paretolens.search.cli import values
from paretolens.search.cli.common import add_configuration, add_workspace, calm_threads, make_console, workspace_of

if TYPE_CHECKING:
    from rich.console import Console

    from paretolens.data.samples import SampleSet
    from paretolens.search.baseline import Baseline
    from paretolens.search.study import Study
    from paretolens.search.task import Task

__all__ = ["add_arguments", "run", "study_of"]


_HASTE_S = 10.0
"""How long a search that was told to stop waits for its store: whoever told it may soon kill it."""
_SEARCH_FLAGS = ("trials", "workers", "seed_from")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--name", type=values.study_name, help="name of the study (default: the family's name and a number)")
    parser.add_argument(
        "--trials", type=values.whole(1), metavar="N", help="evaluated trials that the study holds in the end (default: 24)"
    )
    parser.add_argument("--workers", type=values.whole(1), metavar="N", help="trials that run at the same time (default: 2)")
    parser.add_argument(
        "--address", type=values.ray_address, metavar="ADDRESS",
        help="Ray cluster to run on: auto for the one that this machine is part of, or HOST:PORT; local for this machine alone "
        "(default: local, or the cluster of the study to resume)",
    )  # fmt: skip
    parser.add_argument("--seed", type=values.whole(0), metavar="N", help="seed of teacher, students and proposals (default: 0)")
    parser.add_argument("--seed-from", metavar="STUDY", help="begin with the front of this earlier study, fitted to the space")
    parser.add_argument("--resume", action="store_true", help="go on with a study: the named one, or the one touched last")
    parser.add_argument(
        "--tracking-uri", type=values.tracking_uri, metavar="URI",
        help="MLflow store (default: MLFLOW_TRACKING_URI, else sqlite in the workspace)",
    )  # fmt: skip
    add_configuration(parser)
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Run or resume a study."""
    calm_threads()
    from paretolens.search.cluster.session import joined

    study = study_of(options)
    study.workspace.ensure_writable()
    with joined(study.config.search, study.workspace.root):
        return _search(study, make_console())


def study_of(options: argparse.Namespace) -> "Study":
    """The new study, or the one to go on with, that a command line means."""
    from paretolens.search.config import make_config, named_tree
    from paretolens.search.study import new_study, resume_study

    named = named_tree(file=options.config, assignments=options.assignments, flags=_flags(options))
    if options.resume:
        return resume_study(workspace_of(options), options.name, named=named, preset=options.preset)
    return new_study(make_config(named, preset=options.preset or "default"), workspace_of(options), options.name)


def _search_flags(options: argparse.Namespace) -> dict[str, Any]:
    """What the flags say of the search itself, which may differ from session to session of a study."""
    given: dict[str, Any] = {name: getattr(options, name) for name in _SEARCH_FLAGS if getattr(options, name) is not None}
    if options.address is not None:
        given["address"] = None if options.address == "local" else options.address
    return given


def _flags(options: argparse.Namespace) -> dict[str, Any]:
    search = _search_flags(options)
    flags: dict[str, Any] = {"search": search} if search else {}
    if options.seed is not None:
        flags["seed"] = options.seed
    if options.tracking_uri:
        flags["tracking"] = {"uri": options.tracking_uri}
    return flags


def _search(study: "Study", console: "Console") -> int:
    from paretolens.mlflow.store import without_password
    from paretolens.search.gpus import gpus_here, left_idle
    from paretolens.search.live import LiveTable
    from paretolens.search.outcome import Fate
    from paretolens.search.progress import ConsoleSteps

    steps = ConsoleSteps(console)
    study.check()
    with study.open_journal() as journal:
        study.write_config()
        try:
            with study.open_tracker() as tracker:
                where = f"[bold]study {study.name}[/] in {study.folder}, tracked in {without_password(study.uri)}"
                console.print(where, highlight=False, soft_wrap=True)
                if idle := left_idle(study.config.search, device=study.config.device, gpus=gpus_here()):
                    console.print(idle, highlight=False, soft_wrap=True)
                task, baseline = _prepare(study, tracker, steps)
                with LiveTable(
                    console=console, objectives=journal.objectives, trials=study.config.search.trials,
                    teacher=baseline.metrics, history=journal.records(),
                ) as live:  # fmt: skip
                    result = study.search(task, baseline, journal, tracker, live)
                evaluated = sum(entry.fate is Fate.EVALUATED for entry in journal.records())
                early = f", {result.completed - evaluated} stopped early" if result.completed > evaluated else ""
                note = f"; {result.reason}" if result.reason else ""
                done = f"  {'trials':<22} [dim]{result.seconds:6.1f} s[/]  {evaluated} evaluated{early}{note}"
                console.print(done, highlight=False)
                if evaluated:
                    _finish(study, task, tracker, steps, console, quiet=not result.interrupted)
        except KeyboardInterrupt:
            _say_resume(study, console)
            raise
    if not result.as_asked:
        console.print(f"\nThe study is not finished: {result.completed} of {study.config.search.trials} trials.")
        _say_resume(study, console)
    return 128 + result.signal if result.interrupted else 0 if result.as_asked else 1


def _prepare(study: "Study", tracker: Any, steps: Any) -> "tuple[Task, Baseline]":
    """Data, teacher and what the teacher scores and costs; all of it cached."""
    from paretolens.search.references import retrained_teachers
    from paretolens.search.task import Task

    task = Task.prepare(study.config, study.workspace, steps, study=study.folder)
    with steps.step("teacher's baseline") as update:
        baseline = study.baseline(task)
        update(1, 1, _describe(baseline.metrics, baseline.details))
    if study.config.floor.references:
        with steps.step("retrained teachers") as update:
            retrained = retrained_teachers(task, study.config.floor.references, update)
            update(1, 1, f"EPS {retrained.mean:.3f}")
        tracker.log_study(retrained.metrics())
    return task, baseline


def _say_resume(study: "Study", console: "Console") -> None:
    console.print(f"Go on with\n  {_command(study, 'search')} --name {study.name} --resume", highlight=False, soft_wrap=True)


def _command(study: "Study", name: str) -> str:
    """A command as it can be typed here: the program as it was started, the workspace where it is not the default."""
    program = Path(sys.argv[0])
    known = shutil.which("paretolens") == str(program.absolute())
    shown = "paretolens" if known else os.path.relpath(program) if program.name == "paretolens" else "paretolens"
    usual = study.workspace.root == environment.default_workspace().resolve()
    return f"{shown} {name}" + ("" if usual else f" --workspace {study.workspace.root}")


def _describe(metrics: dict[str, float], details: dict[str, Any]) -> str:
    from paretolens.mlflow.chart import half_up

    latency, (val, test) = details["latency"], (half_up(metrics[name], 3) for name in ("accuracy", "test_accuracy"))
    return (
        f"accuracy {val} on val, {test} on test (AUC {metrics['test_auc']:.3f}), "
        f"{metrics['latency_ms']:.2f} ms, {metrics['size_mb']:.1f} MB; {latency['runtime']} on {latency['device']}"
    )


def _finish(study: "Study", task: "Task", tracker: Any, steps: Any, console: "Console", *, quiet: bool) -> None:
    from paretolens.mlflow.table import rich_table
    from paretolens.search.faithful import faithfulness_pass
    from paretolens.search.finish import choose, export_member, pull_front, quiet_pass, write_front

    if not tracker.flush(60.0 if quiet else _HASTE_S):
        steps.note(f"the tracking store does not answer: its records wait in {study.folder}. Once it is back:")
        _say_resume(study, console)
        return
    found = pull_front(study)
    if quiet:
        quiet_pass(study, found, tracker, steps)
        faithfulness_pass(study, task, found, tracker, steps)
        tracker.flush(60.0)
        found = pull_front(study)
    files, val = write_front(study, found, tracker), task.samples["val"]
    bundle = export_member(study, choose(found, "knee")[0], study.folder / "bundle", val=val, replace=True)
    tracker.log_artifacts(None, {"": [bundle]})
    registered = quiet and _register(study, found, val, steps)
    console.print()
    console.print(rich_table(found, width=console.width))
    clip = next(iter(sorted((_files(study) / "test").glob("*[0-9].*"))), "FILE")
    lines = {
        "front": f"{files.html}  (also .png, .csv, .json)",
        "bundle of the knee": str(bundle),
        "try it": f"{_command(study, 'predict').partition(' --')[0]} {bundle} {clip}",
        "browse the trials": f"{_command(study, 'ui')} {study.name}",
        "the front again": f"{_command(study, 'front')} {study.name}",
        **({"load the knee": f"mlflow.onnx.load_model('models:/{study.name}@knee')"} if registered else {}),
        "another member": f"{_command(study, 'export')} {study.name} --select fastest",
    }
    console.print()
    for name, text in lines.items():
        console.print(f"  {name:<20} {text}", highlight=False, soft_wrap=True)


def _register(study: "Study", found: Any, val: "SampleSet", steps: Any) -> bool:
    """Put the front into the registry of the study's own store; others' registry is left to 'paretolens register'."""
    from paretolens.mlflow.store import one_line, sqlite_path
    from paretolens.search.register import register_members

    if sqlite_path(study.uri) is None:
        return False
    with steps.step("model registry") as update:
        try:
            done = register_members(study, found, val=val)
        except Exception as error:  # the study is done, and its models are in its folder
            update(1, 1, f"not registered: {one_line(error)}; 'paretolens register {study.name}' tries again")
            return False
        update(1, 1, f"{len(done)} versions of {done[0].name}, aliases {', '.join(a for one in done for a in one.aliases)}")
    return True


def _files(study: "Study") -> Any:
    return study.config.make_source().place(study.config.make_data_settings(), study.workspace.cache)
