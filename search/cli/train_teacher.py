"""Train the teacher of a configuration ahead of a search, on one process or several; `paretolens search` with the same
configuration and workspace then finds it. Stopped, or ended from outside, it goes on with the next epoch when called again.

On several processes, which share every batch (teacher.batch_size clips over all of them):

  torchrun --standalone --nproc-per-node 4 -m paretolens.search.cli train-teacher --config FILE

torchrun passes on the rest of the line. With GPUs each process takes one; teacher.precision float16 or bfloat16 trains in mixed
precision there, teacher.patience ends early.
"""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from paretolens.search.cli.common import (
    add_configuration,
    add_workspace,
    calm_threads,
    configuration_of,
    make_console,
    workspace_of,
)  # fmt: skip
from paretolens.search.cli.scores import scores_table

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from paretolens.data.samples import SampleSet
    from paretolens.search.progress import Steps

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_configuration(parser)
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Train, then print what the teacher scores."""
    calm_threads()
    from paretolens.models.record import load_model
    from paretolens.search.progress import ConsoleSteps, Silent
    from paretolens.search.samples import notes_of, prepared
    from paretolens.search.task import trained_teacher
    from paretolens.trainers.distributed import joined
    from paretolens.trainers.precision import require_precision

    config = configuration_of(options)
    workspace, console = workspace_of(options), make_console()
    workspace.ensure_writable()
    with joined() as world:
        world.require_divisible(config.teacher.batch_size)
        require_precision(config.teacher.precision, world.device)
        steps: Steps = ConsoleSteps(console) if world.leads else Silent()
        if not world.leads:
            world.wait()  # the first process makes or decodes the data, the others open it
        with steps.step(f"data ({config.make_source().name})") as update:
            samples = prepared(config, workspace, update)
            update(1, 1, ", ".join(f"{len(split)} {name}" for name, split in samples.items()))
        for line in notes_of(samples):
            steps.note(line)
        if world.leads:
            world.wait()
        with steps.step(f"teacher, {world.size} × {world.device.type}") as update:
            folder = trained_teacher(config, workspace, samples, update, world=world)
        if world.leads:
            console.print(_scores(load_model(folder), samples))
            console.print(f"  teacher {folder.absolute()}", highlight=False, soft_wrap=True)
    return 0


def _scores(teacher: "nn.Module", samples: "Mapping[str, SampleSet]") -> "Table":
    columns = {name: _figures(teacher, split) for name, split in samples.items() if name != "train"}
    return scores_table(columns, dict.fromkeys(name for figures in columns.values() for name in figures))


def _figures(teacher: "nn.Module", split: "SampleSet") -> dict[str, float]:
    from paretolens.evaluators.classes import split_aucs, split_metrics
    from paretolens.evaluators.videos import split_videos
    from paretolens.models.decision import flat
    from paretolens.search.localise import localisation_of
    from paretolens.trainers.validation import predict_logits

    logits = flat(predict_logits(teacher, split).numpy())
    figures = split_metrics(split, logits) | split_videos(split, logits)
    places = localisation_of(teacher, split)
    figures |= {} if places is None else places.to_metrics()
    return figures | {f"AUC of {kind}": value for kind, value in split_aucs(split, logits).items()}
