import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from paretolens.errors import ConfigurationError, IntegrityError
from paretolens.search.progress import Silent
from paretolens.search.samples import hold_ground
from paretolens.search.task import Task, teacher_address
from paretolens.search.workspace import Workspace


def test_a_damaged_teacher_says_what_to_delete(tiny_task: Task, tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path / "runs")
    folder = workspace.cache / "teachers" / tiny_task.teacher_folder.name  # other processes may train further ones beside it
    shutil.copytree(tiny_task.teacher_folder, folder)
    shutil.copytree(
        tiny_task.workspace.cache / "generated", workspace.cache / "generated", ignore=shutil.ignore_patterns("*.lock")
    )
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=f"delete {folder} and make it again") as caught:
        Task.prepare(tiny_task.config, workspace, Silent())
    assert "save the model" not in str(caught.value)


def test_a_study_whose_data_or_teacher_have_changed_is_refused(tiny_task: Task, tmp_path: Path) -> None:
    hold_ground(tmp_path, tiny_task.samples, "one")
    hold_ground(tmp_path, tiny_task.samples, "one")
    fewer = {**tiny_task.samples, "val": tiny_task.samples["val"].subset(slice(0, 4))}
    with pytest.raises(ConfigurationError, match=r"has changed since it began \(teacher, val\).*--name"):
        hold_ground(tmp_path, fewer, "another")


def test_settings_younger_than_a_kept_teacher_leave_its_address_alone(tiny_task: Task) -> None:
    def address(**teacher: object) -> str:
        config = replace(tiny_task.config, teacher=replace(tiny_task.config.teacher, **teacher))
        return teacher_address(config, tiny_task.workspace, tiny_task.samples).name

    assert address() == tiny_task.teacher_folder.name == address(momentum=0.9, balance=False, step_epochs=15)
    others = [address(**change) for change in ({"momentum": 0.5}, {"balance": True}, {"optimiser": "sgd"}, {"epochs": 2})]
    assert len({address(), *others}) == 5
