"""Trials that share trained stages: the same weights with and without the cache, whole curves, nothing trained twice."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paretolens.models.record import load_model
from paretolens.search.cheap import shapes
from paretolens.search.stage_cache import CacheSettings
from paretolens.search.stage_keys import stage_keys
from paretolens.search.stages import loops_of
from paretolens.search.task import Task
from paretolens.search.trial import run_trial
from paretolens.search.workspace import Workspace
from paretolens.spaces.knobs import Genome
from paretolens.spaces.stages import stages_of
from paretolens.trainers.prune import Importance

Reports = list[Mapping[str, float]]


@pytest.fixture
def task(tiny_task: Task, tmp_path: Path) -> Task:
    """The tiny task with an empty cache of stages."""
    return replace(tiny_task, workspace=Workspace.at(tmp_path))


def genome_of(task: Task, **wishes: object) -> Genome:
    small = {"backbone": "resnet18", "backbone_width": 0.125, "prune_ratio": 0.4, "gamma": 2.0, "qat": True}
    return task.space.repair({**task.space.default(), **small, **wishes})  # type: ignore[dict-item]  # wishes are knob values


def without_cache(task: Task) -> Task:
    return replace(task, config=replace(task.config, cache=CacheSettings(stages=False)))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder / "model").state_dict()


def curve(reports: Reports) -> list[dict[str, float]]:
    return [
        {name: value for name, value in entry.items() if not any(word in name for word in ("seconds", "latency", "system/"))}
        for entry in reports
    ]


@pytest.mark.slow
def test_results_are_the_same_bit_for_bit_whatever_came_from_the_cache(task: Task, tmp_path: Path) -> None:
    genome = genome_of(task)
    told: dict[str, Reports] = {"alone": [], "prefix": [], "rest": [], "all": []}
    alone = run_trial(genome, without_cache(task), tmp_path / "alone", told["alone"].append)
    run_trial(genome_of(task, qat=False), task, tmp_path / "prefix", told["prefix"].append)
    rest = run_trial(genome, task, tmp_path / "rest", told["rest"].append)
    whole = run_trial(genome, task, tmp_path / "all", told["all"].append)
    assert [outcome.details["reused"] for outcome in (alone, rest, whole)] == [
        [],
        ["distill", "prune", "align"],
        ["distill", "prune", "align", "qat"],
    ]
    wanted = weights(tmp_path / "alone")
    for name in ("rest", "all"):
        found = weights(tmp_path / name)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
        assert (tmp_path / name / "model.onnx").read_bytes() == (tmp_path / "alone" / "model.onnx").read_bytes()
        assert curve(told[name]) == curve(told["alone"])
        assert (tmp_path / name / "pruning.json").read_text() == (tmp_path / "alone" / "pruning.json").read_text()
    for outcome in (rest, whole):
        assert {name: outcome.values[name] for name in ("accuracy", "eps")} == {
            name: alone.values[name] for name in ("accuracy", "eps")
        }
        assert outcome.metrics["pruned_parameters"] == alone.metrics["pruned_parameters"] > 0
    assert whole.metrics["seconds_saved"] > 0
    assert "seconds_distill" not in whole.metrics


@pytest.mark.parametrize(
    ("wishes", "changed"),
    [
        ({}, []),
        ({"width": 32, "ffn": 1}, ["distill", "prune", "align", "qat"]),
        ({"alpha": 0.2}, ["distill", "prune", "align", "qat"]),
        ({"prune_ratio": 0.2}, ["prune", "align", "qat"]),
    ],
)
def test_a_knob_changes_its_own_stage_and_those_after_it(tiny_task: Task, wishes: dict[str, object], changed: list[str]) -> None:
    before, after = stage_keys(genome_of(tiny_task), tiny_task), stage_keys(genome_of(tiny_task, **wishes), tiny_task)
    assert [stage for stage in before if before[stage] != after[stage]] == changed


def test_a_stage_that_a_genome_skips_has_no_key_and_the_next_follows_its_parent(tiny_task: Task) -> None:
    plain = stage_keys(genome_of(tiny_task, prune_ratio=0.0, gamma=0.0), tiny_task)
    assert list(plain) == ["distill", "qat"]
    assert plain["distill"] == stage_keys(genome_of(tiny_task), tiny_task)["distill"]
    assert plain["qat"] != stage_keys(genome_of(tiny_task), tiny_task)["qat"]


def _other_tasks(task: Task) -> Iterator[tuple[str, Task, list[str]]]:
    config, student = task.config, task.config.student
    later = replace(student, qat=replace(student.qat, epochs=2))
    yield "qat epochs", replace(task, config=replace(config, student=later)), ["qat"]
    repaired = replace(student, repair=replace(student.repair, learning_rate=0.5))
    yield "repair rate", replace(task, config=replace(config, student=repaired)), ["prune", "align", "qat"]
    yield "seed", replace(task, config=replace(config, seed=9)), ["distill", "prune", "align", "qat"]
    yield "teacher", replace(task, outputs=replace(task.outputs, fingerprint="other")), ["distill", "prune", "align", "qat"]
    clips = {**task.samples, "train": replace(task.samples["train"], fingerprint="other")}
    yield "clips", replace(task, samples=clips), ["distill", "prune", "align", "qat"]
    assert task.paths is not None
    yield "evidence", replace(task, paths=replace(task.paths, fingerprint="other")), ["align", "qat"]
    yield "eps", replace(task, config=replace(config, eps=replace(config.eps, nodes=16))), []


def test_settings_change_the_stages_that_they_shape(tiny_task: Task) -> None:
    before = stage_keys(genome_of(tiny_task), tiny_task)
    for name, other, changed in _other_tasks(tiny_task):
        after = stage_keys(genome_of(other), other)
        assert [stage for stage in before if before[stage] != after[stage]] == changed, name


def test_pruning_by_taylor_in_steps_is_repaired_after_each(task: Task, tmp_path: Path) -> None:
    """The loss that channels are judged by is the one the student is taught with."""
    config, student = task.config, task.config.student
    stepped = replace(student, prune=replace(student.prune, steps=2, importance=Importance.TAYLOR))
    told: Reports = []
    genome = genome_of(task, gamma=0.0, qat=False)
    outcome = run_trial(genome, replace(task, config=replace(config, student=stepped)), tmp_path / "trial", told.append)
    assert [entry["progress_epoch"] for entry in told] == [1, 2, 3, 4]
    assert [entry["progress_epochs"] for entry in told] == [4] * 4
    assert ["repair_loss" in entry for entry in told] == [False, False, True, True]
    assert outcome.metrics["parameters"] == outcome.metrics["parameters_untrained"]


@pytest.mark.parametrize("wishes", [{}, {"gamma": 0.0}, {"prune_ratio": 0.0, "qat": False}, {"rank_energy": 0.6, "qat": False}])
def test_training_keys_and_prices_go_through_the_same_stages(tiny_task: Task, wishes: Mapping[str, object]) -> None:
    genome = genome_of(tiny_task, **wishes)
    wanted = list(stages_of(genome))
    assert list(loops_of(genome, tiny_task.config.student)) == wanted
    assert list(stage_keys(genome, tiny_task)) == wanted
    assert [stage for stage, _ in shapes(genome, tiny_task.config)] == wanted
