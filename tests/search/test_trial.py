"""One trial on a real, tiny task: what is known before training, what every epoch reports, what ends it early."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paretolens.exporters.runner import OnnxRunner
from paretolens.search.cheap import CHEAP, settled_untrained
from paretolens.search.gate import Gate
from paretolens.search.task import Task
from paretolens.search.trial import OBJECTIVES, run_trial
from paretolens.spaces.knobs import Genome
from paretolens.trainers.prune import Scope

SMALL = {"backbone": "resnet18", "backbone_width": 0.125, "prune_ratio": 0.4, "qat": True}


def genome_of(task: Task, **wishes: object) -> Genome:
    return task.space.repair({**task.space.default(), **SMALL, **wishes})  # type: ignore[dict-item]  # wishes are knob values


def assert_agreement_is_over_the_whole_split(task: Task, file: Path, found: Mapping[str, float]) -> None:
    """The file's verdicts against the teacher's on every clip of both classes: always saying "fake" is no agreement."""
    val = task.samples["val"]
    inputs = val.batch(slice(0, len(val)))
    assert set((val.labels > 0.5).reshape(-1).tolist()) == {False, True}
    with torch.no_grad():
        teacher = task.teacher(*inputs).logit.reshape(-1).numpy() > 0
    names = [spec.name for spec in val.signature.inputs]
    student = OnnxRunner(file).run({name: x.numpy() for name, x in zip(names, inputs, strict=True)})["logit"].reshape(-1) > 0
    assert found["agreement"] == pytest.approx(float((teacher == student).mean()))
    assert found["agreement_explained"] == pytest.approx(float((teacher == student)[task.reference.explained.indices].mean()))


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What passes through the gate of the timed device, in order."""
    told: list[str] = []

    class Told(Gate):
        @contextmanager
        def working(self, device: torch.device) -> Iterator[Callable[[], None]]:
            told.append("works")
            yield lambda: None
            told.append("rests")

        @contextmanager
        def alone(self) -> Iterator[None]:
            told.append("measures")
            yield

    monkeypatch.setattr("paretolens.search.trial.gate_of", lambda *_: Told())
    return told


def test_cost_is_known_before_training_and_told_with_every_epoch(tiny_task: Task, tmp_path: Path, passing: list[str]) -> None:
    reports: list[Mapping[str, float]] = []
    outcome = run_trial(genome_of(tiny_task), tiny_task, tmp_path / "trial", reports.append)
    found = outcome.metrics
    one = ["works", "rests"]
    assert passing == [
        "measures", "measures",  # before training, as int8 and as float
        *one, *one, *one,  # distilled, repaired, quantised
        "measures", *one,  # timed, then explained
    ]  # fmt: skip
    for name in ("parameters", "macs"):
        assert found[f"{name}_untrained"] == found[name]
    assert found["size_mb_untrained"] == pytest.approx(found["size_mb"], rel=0.03)
    assert min(found["latency_ms_untrained"], found["latency_ms"]) > 0
    assert_agreement_is_over_the_whole_split(tiny_task, tmp_path / "trial" / "model.onnx", found)
    assert outcome.details["precision"] == "int8"
    assert outcome.details["int8"] == ("smaller and faster" if found["int8_speed_up"] > 1 else "smaller but slower")
    assert [entry["progress_epoch"] for entry in reports] == [1, 2, 3, 4]  # distilled twice, repaired, quantised
    for entry in reports:
        stage = next(name for name in ("distill", "repair", "qat") if f"{name}_val_accuracy" in entry)
        assert entry["progress_error"] == pytest.approx(1 - entry[f"{stage}_val_accuracy"])
        assert {f"cheap_{name}": entry[f"cheap_{name}"] for name in CHEAP} == {
            f"cheap_{name}": found[f"{name}_untrained"] for name in CHEAP
        }


def test_low_rank_is_held_to_limits_after_training(tiny_task: Task, tmp_path: Path) -> None:
    limits = {"parameters": 100.0}
    genome = genome_of(tiny_task, rank_energy=0.6, qat=False, prune_ratio=0.0)
    outcome = run_trial(genome, tiny_task, tmp_path / "trial", lambda _: None, limits=limits)
    found = outcome.metrics
    assert found["parameters"] == found["parameters_untrained"] - found["factorised_parameters"] < found["parameters_untrained"]
    assert found["macs"] < found["macs_untrained"]
    assert outcome.violations == {"parameters": pytest.approx(found["parameters"] / 100 - 1)}


def test_a_student_over_a_limit_is_not_trained(tiny_task: Task, tmp_path: Path) -> None:
    reports: list[Mapping[str, float]] = []
    limits = {"size_mb": 0.1, "parameters": 1e9}
    outcome = run_trial(genome_of(tiny_task), tiny_task, tmp_path / "trial", reports.append, limits=limits)
    assert reports == []
    assert not (tmp_path / "trial" / "model.onnx").exists()
    assert outcome.violations == {"size_mb": pytest.approx(outcome.metrics["size_mb"] / 0.1 - 1)}
    assert set(outcome.values) == {"latency_ms"}


def test_widths_that_trained_weights_choose_are_held_to_limits_after_training(tiny_task: Task, tmp_path: Path) -> None:
    limits = {"blocks.*": 0.9, "no.such.*": 0.5}
    prune = replace(tiny_task.config.student.prune, scope=Scope.MODEL, limits=limits)
    config = replace(tiny_task.config, student=replace(tiny_task.config.student, prune=prune))
    reports: list[Mapping[str, float]] = []
    genome = genome_of(tiny_task, qat=False)
    outcome = run_trial(
        genome, replace(tiny_task, config=config), tmp_path / "trial", reports.append, limits={"parameters": 100.0}
    )
    assert reports
    assert set(outcome.values) == set(OBJECTIVES)
    assert outcome.violations == {"parameters": pytest.approx(outcome.metrics["parameters"] / 100 - 1)}
    (warning,) = outcome.details["warnings"]
    assert warning.startswith("student.prune.limits: no layer fits no.such.*;")


def test_untrained_figures_settle_nothing_that_weights_choose(tiny_task: Task) -> None:
    whole = replace(tiny_task.config.student, prune=replace(tiny_task.config.student.prune, scope=Scope.MODEL))
    by_layer, by_model = tiny_task.config, replace(tiny_task.config, student=whole)
    pruned, plain = genome_of(tiny_task), genome_of(tiny_task, prune_ratio=0.0)
    assert settled_untrained(pruned, by_layer)
    assert settled_untrained(plain, by_model)
    assert not settled_untrained(pruned, by_model)
    assert not settled_untrained(genome_of(tiny_task, rank_energy=0.6), by_layer)
