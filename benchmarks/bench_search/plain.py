"""The plain trial: what a competent user writes with the libraries at hand, without this project's engine.

Its models, training stages and exporter are the project's own, so that only what surrounds them differs:

- the teacher is asked in every training step;
- explanations are Captum's IntegratedGradients at its default of 50 steps, sample by sample, of the teacher and of the student in
  every trial, compared with scipy's spearmanr and the overlap of the top cells (the same score as the engine's);
- latency is the median wall time of 100 runs in ONNX Runtime on one thread;
- nothing is known before training, nothing is shared between trials.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_eps.cases import Case
from bench_eps.plain import all_plain_maps, plain_eps
from torch import nn

from paretolens.evaluators.eps import EpsSettings, Population
from paretolens.exporters.onnx import export_onnx
from paretolens.exporters.runner import OnnxRunner
from paretolens.search.curve import Curve
from paretolens.search.stages import Training
from paretolens.search.task import Task, example_of
from paretolens.spaces.knobs import Genome
from paretolens.trainers.live_teacher import LiveTeacher
from paretolens.trainers.quantise import quantisers_off

__all__ = ["PlainTrial"]

RUNS, WARMUP, BATCH = 100, 10, 32


class PlainTrial:
    """Evaluates genomes one after another.

    Args:
        task: data, teacher and the explained clips; nothing else of it is used.
        captum_steps: gradients per map.
    """

    def __init__(self, task: Task, captum_steps: int) -> None:
        self._task = replace(task, outputs=LiveTeacher(task.teacher, task.samples["train"]))
        self._eps = EpsSettings(
            nodes=captum_steps, population=Population.ALL, change_share=0.0, probes=0, doublings=0, pixels=False
        )

    def __call__(self, genome: Genome, folder: Path) -> dict[str, float]:
        """Train, export and score; the figures, with the seconds of each part."""
        folder.mkdir(parents=True, exist_ok=True)
        marks = [time.monotonic()]
        student = self._train(genome)
        marks.append(time.monotonic())
        artefact = export_onnx(student, self._task.signature, example_of(self._task.samples["val"]), folder / "model.onnx")
        accuracy, latency = self._accuracy(artefact.path), self._latency(artefact.path)
        marks.append(time.monotonic())
        with quantisers_off(student):
            eps = self._explain(student)
        marks.append(time.monotonic())
        train, export, explain = np.diff(marks)
        return {
            "accuracy": accuracy, "latency_ms": latency, "eps": eps, "size_mb": artefact.size_bytes / 1e6,
            "int8": float(artefact.precision == "int8"),
            "seconds_train": float(train), "seconds_export": float(export), "seconds_eps": float(explain),
        }  # fmt: skip

    def _train(self, genome: Genome) -> nn.Module:
        """All stages of the genome, one after another: nothing is reused, watched or told while it goes on."""
        curve = Curve(_ignore, epochs=0, constants={})
        return Training(
            genome=genome, task=self._task, curve=curve, watch=lambda _, report: report, observed="", cache=None
        ).run().model  # fmt: skip

    def _accuracy(self, path: Path) -> float:
        val, runner = self._task.samples["val"], OnnxRunner(path)
        names = [spec.name for spec in val.signature.inputs]
        right = 0
        for start in range(0, len(val), BATCH):
            rows = slice(start, start + BATCH)
            found = runner.run({name: x.numpy() for name, x in zip(names, val.batch(rows), strict=True)})["logit"].reshape(-1)
            right += int(((found > 0) == (val.labels[rows] > 0.5)).sum())
        return right / len(val)

    def _latency(self, path: Path) -> float:
        val, runner = self._task.samples["val"], OnnxRunner(path)
        names = [spec.name for spec in val.signature.inputs]
        one = {name: x.numpy() for name, x in zip(names, val.batch(slice(0, 1)), strict=True)}
        took = []
        for _ in range(WARMUP + RUNS):
            began = time.perf_counter()
            runner.run(one)
            took.append(time.perf_counter() - began)
        return 1e3 * float(np.median(took[WARMUP:]))

    def _explain(self, student: nn.Module) -> float:
        explained, teacher, settings = self._task.reference.explained, self._task.teacher, self._eps
        case = Case(name="", teacher=teacher, students={}, explained=explained, trained=True)
        theirs, mine = (all_plain_maps(model, case, settings) for model in (teacher, student))
        found = plain_eps(case, theirs, mine, settings)
        return found if np.isfinite(found) else 0.0


def _ignore(figures: Mapping[str, Any]) -> None:
    """The plain recipe reports when it is done."""


def pin_threads(threads: int) -> None:
    """What torch computes with."""
    torch.set_num_threads(threads)
