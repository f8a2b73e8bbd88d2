"""Explanations of files without gradients, held against torch's on a real teacher."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paretolens.errors import BackendError, IntegrityError
from paretolens.evaluators.eps import TeacherReference, score_eps
from paretolens.exporters.file_model import FileModel
from paretolens.exporters.onnx import export_onnx
from paretolens.exporters.runner import OnnxRunner
from paretolens.exporters.tensorrt import EnginePrecision
from paretolens.models.record import save_model
from paretolens.search.study import Study
from paretolens.search.target_eps import EPS_TOLERANCE, ExplainedJudge
from paretolens.search.targets import Targets, write_targets
from paretolens.search.task import Task, example_of
from paretolens.search.workspace import Workspace

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


def student_of(task: Task) -> nn.Module:
    """The teacher with noise on its weights: it is trained, and has something to explain."""
    model = copy.deepcopy(task.teacher)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + 0.2 * torch.randn(weight.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def student(tiny_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "student.onnx"
    export_onnx(student_of(tiny_task), tiny_task.signature, example_of(tiny_task.samples["val"]), path)
    return path


@pytest.fixture(scope="module")
def judge(tiny_task: Task, tmp_path_factory: pytest.TempPathFactory) -> ExplainedJudge:
    folder = tmp_path_factory.mktemp("teacher")
    export_onnx(tiny_task.teacher, tiny_task.signature, example_of(tiny_task.samples["val"]), folder / "model.onnx")
    return ExplainedJudge(folder / "model.onnx", tiny_task.samples["val"], tiny_task.config.eps, folder / "maps")


def file_of(path: Path, judge: ExplainedJudge, change: Callable[[np.ndarray], np.ndarray] = lambda logit: logit) -> FileModel:
    run = OnnxRunner(path).run
    return FileModel(path, lambda inputs: {"logit": change(run(inputs)["logit"])}, judge.names)


def test_a_file_explains_itself_as_its_model_does(tiny_task: Task, student: Path, judge: ExplainedJudge) -> None:
    model = student_of(tiny_task)
    twin, file = judge.score(model), judge.score(file_of(student, judge), chunk=500)
    found = judge.compare("student.onnx", "fp32", file=file, twin=twin)
    assert found.eps == pytest.approx(found.reference, abs=EPS_TOLERANCE["fp32"])
    assert found.agreement > 0.95
    assert found.samples == int(judge.reference.eligible.sum())
    teacher = TeacherReference.compute(tiny_task.teacher, judge.reference.explained, judge.settings)
    assert score_eps(model, teacher).eps == pytest.approx(found.reference, abs=EPS_TOLERANCE["fp32"]), (
        "the teacher's file stands for the teacher"
    )


def test_other_explanations_fail_and_the_worst_clip_is_named(student: Path, judge: ExplainedJudge) -> None:
    twin = judge.score(file_of(student, judge))
    other = judge.score(file_of(student, judge, lambda logit: -logit))
    assert abs(other.eps - twin.eps) > EPS_TOLERANCE["fp32"]
    with pytest.raises(BackendError, match=r"student\.onnx: its EPS by occlusion must lie within 0\.01 .* clip val/\d+"):
        judge.compare("student.onnx", "fp32", file=other, twin=twin)
    with pytest.raises(BackendError, match=r"by occlusion: .*constant"):
        judge.score(file_of(student, judge, np.zeros_like))


def test_the_teachers_file_is_needed_and_its_maps_are_kept(tiny_task: Task, judge: ExplainedJudge, tmp_path: Path) -> None:
    settings = replace(tiny_task.config.eps, samples=4)
    with pytest.raises(IntegrityError, match=r"the teacher's file .*none\.onnx is gone"):
        ExplainedJudge(tmp_path / "none.onnx", tiny_task.samples["val"], settings, tmp_path)
    assert judge.reference.explainer.startswith("Occlusion")
    assert not judge.reference.pixels


def test_a_bundles_files_are_judged_by_logits_verdicts_and_explanations(tiny_task: Task, tmp_path: Path) -> None:
    study = Study(name="files", config=tiny_task.config, workspace=Workspace.at(tmp_path / "runs"))
    study.workspace.cache.mkdir(parents=True)
    example, model = example_of(tiny_task.samples["val"]), student_of(tiny_task)
    export_onnx(tiny_task.teacher, tiny_task.signature, example, study.folder / "baseline" / "model.onnx")
    export_onnx(model, tiny_task.signature, example, tmp_path / "model.onnx")
    save_model(model, tmp_path / "model")
    told: list[str] = []
    wanted = Targets(names=("onnx", "tensorrt-onnx"), tensorrt=(EnginePrecision.FP16,))
    made = write_targets(study, tmp_path, wanted, tmp_path, told.append, val=tiny_task.samples["val"])
    half = made.records["tensorrt-onnx-fp16"]
    assert (half["file"], half["precision"]) == ("tensorrt/fp16.onnx", "fp16")
    assert half["size_bytes"] < 0.7 * made.records["onnx"]["size_bytes"]
    assert 0 < half["max_difference"] < 0.1
    assert half["explanations"]["agreement"] > 0.9
    record = made.records["onnx"]
    assert (record["file"], record["precision"], record["decision_agreement"]) == ("model.onnx", "fp32", 1.0)
    assert record["accuracy"] == record["reference_accuracy"]
    assert record["explanations"]["eps"] == pytest.approx(record["explanations"]["reference"], abs=EPS_TOLERANCE["fp32"])
    assert any("occlusion" in line for line in told)
    if not torch.cuda.is_available():
        with pytest.raises(BackendError, match=r"--targets tensorrt: .* torch finds none"):
            targets = Targets(names=("litert", "tensorrt"))
            write_targets(study, tmp_path, targets, tmp_path, told.append, val=tiny_task.samples["val"])
