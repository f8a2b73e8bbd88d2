"""Teachers trained again, and the models of the checks: where the study's device is."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from paretolens.evaluators.eps import EpsScore, score_eps
from paretolens.models.record import save_model
from paretolens.search.references import retrained_teachers
from paretolens.search.task import Task
from paretolens.search.validate import opened
from paretolens.trainers.distributed import World


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def test_teachers_are_trained_and_scored_on_the_studys_device(
    tiny_task: Task, gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[torch.device] = []
    scored: list[torch.device] = []

    def train(*_: Any, world: World = World()) -> Path:  # noqa: B008  # the default of what it stands in for
        trained.append(world.device)
        return tiny_task.teacher_folder

    def score(model: nn.Module, *arguments: Any) -> EpsScore:
        scored.append(device_of(model))
        return score_eps(model, *arguments)

    monkeypatch.setattr("paretolens.search.references.trained_teacher", train)
    monkeypatch.setattr("paretolens.search.references.score_eps", score)
    with gpu.pretended_gpu():
        retrained_teachers(replace(tiny_task, device=gpu.CUDA), 2, lambda *_: None, again=True)
    assert trained == scored == [gpu.CUDA] * 2


def test_checked_models_are_on_the_studys_device_and_come_back(tiny_task: Task, gpu: ModuleType, tmp_path: Path) -> None:
    genome = tiny_task.space.default()
    save_model(tiny_task.family.student(genome, tiny_task.signature, seed=1), tmp_path / "model")
    (tmp_path / "result.json").write_text(json.dumps({"genome": genome}))
    with gpu.pretended_gpu():
        with opened(replace(tiny_task, device=gpu.CUDA), tmp_path, clips=2) as subject:
            models = (subject.teacher, subject.student, *subject.untrained, subject.fresh_teacher(3))
            assert {device_of(model) for model in models} == {gpu.CUDA}
        assert device_of(tiny_task.teacher) == torch.device("cpu")
