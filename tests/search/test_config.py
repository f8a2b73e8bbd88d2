"""Configurations: presets are valid, flags override files, identities ignore the budget, bad values are named early."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from paretolens.errors import ConfigurationError
from paretolens.search import schema
from paretolens.search.bounds import LimitSettings
from paretolens.search.config import Config, load_config
from paretolens.search.settings import EngineSettings
from paretolens.search.stage_cache import CacheSettings
from paretolens.trainers.teacher import TeacherSettings

DOCS = Path(__file__).parents[2] / "docs"


def load(*assignments: str, **flags: Any) -> Config:
    return load_config(assignments=assignments, flags=flags)


def test_default_preset_is_valid_and_its_first_genomes_fit_the_space() -> None:
    config = load()
    space = config.make_space()
    for genome in config.first_genomes():
        space.validate(genome)
    assert config.search.trials == 24


def test_plain_values_build_the_same_configuration() -> None:
    config = load("space.width=[32, 64]")
    assert schema.build(Config, schema.to_plain(config)) == config


def test_flags_win_over_assignments_over_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("search: {trials: 5, workers: 1}\nseed: 3\n")
    config = load_config(file=file, assignments=["search.trials=6", "search.attempts=1"], flags={"search": {"trials": 7}})
    assert (config.search.trials, config.search.workers, config.search.attempts, config.search.seed) == (7, 1, 1, 3)


@pytest.mark.parametrize("free", ["search.trials=99", "search.workers=1", "tracking.uri=sqlite:///x.db"])
def test_identity_does_not_depend_on_budget_workers_and_store(free: str) -> None:
    assert load(free).identity() == load().identity()


@pytest.mark.parametrize("bound", ["seed=1", "data.train=64", "space.depth=[1]", "eps.nodes=4", "teacher.epochs=2"])
def test_identity_depends_on_what_shapes_results(bound: str) -> None:
    assert load(bound).identity() != load().identity()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("search.trials=0", "search.trials is 0"),
        ("space.backbone=[resnet19]", "resnet18"),
        ("space.widht=[32]", "width"),
        ("model.teacher.backbone=mobilnet", "mobilenet"),
        ("model.teacher.width=100", "heads"),
        ("model.teacher.widht=96", "model.teacher.width"),
        ("model.frames=16", "data.frames"),
        ("model.audio_frames=60", "audio_frames"),
        ("model.coefficients=20", "coefficients"),
        ("latency.backend=torch", "onnxruntime"),
        ("family=pinpiont", "pinpoint"),
        ("data=folder", "data"),
        ("student.align.batch_size=4096", "student.align.batch_size 4096"),
        ("serach.trials=3", "search"),
        ("space.heads=[3]", "heads"),
        ("data.source=generated-picture", "generated-pictures"),
        ("data.source=generated-pictures", "takes clips"),
        ("data.trian=3", "did you mean data.train?"),
        ("data.train=1", "data.train is 1"),
        ("data.size=65", "size must be even"),
    ],
)
def test_bad_values_are_refused_in_one_line(assignment: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(assignment)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


PAGES = {EngineSettings: "configuration", LimitSettings: "configuration", TeacherSettings: "training", CacheSettings: "search"}


@pytest.mark.parametrize("settings", PAGES)
def test_every_key_is_explained(settings: Any) -> None:
    text = (DOCS / f"{PAGES[settings]}.md").read_text(encoding="utf-8")
    code = " ".join(re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL))
    assert {field.name for field in dataclasses.fields(settings)} <= set(re.findall(r"[a-z_]+", code))


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="default"):
        load_config(preset="defualt", flags={})


def test_the_full_preset_is_the_default_one_with_more_clips_and_trials() -> None:
    quick, full = load_config(flags={}), load_config(preset="full", flags={})
    assert (full.eps.samples, full.search.trials) == (128, 96)
    assert (full.data, full.teacher, full.student, full.space, full.first) == (
        quick.data, quick.teacher, quick.student, quick.space, quick.first
    )  # fmt: skip


def test_fewer_clips_than_a_batch_are_refused():
    with pytest.raises(ConfigurationError, match=r"data.train is 3: .*teacher.batch_size 16, student.head.batch_size 16"):
        load_config(assignments=["data.train=3"], flags={})


def test_one_reference_teacher_is_refused_as_validate_eps_refuses_it() -> None:
    with pytest.raises(ConfigurationError, match=r"floor.references is 1: .* give 0 or at least 2"):
        load("floor.references=1")
    assert load("floor.references=2").floor.references == 2


def test_mistakes_in_the_data_stand_beside_the_others() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown key data.trian \(did you mean data.train\?\); search.trials is 0"):
        load("search.trials=0", "data.trian=3")


@pytest.mark.parametrize("preset", ["image-classifier-quick", "image-classifier-cluster"])
def test_the_presets_of_picture_classifiers_are_valid_and_begin_with_genomes_of_their_space(preset: str) -> None:
    config = load_config(preset=preset, flags={})
    assert config.make_family().name == "image-classifier"
    assert config.first_genomes()
    assert config.make_source().generated == preset.endswith("quick")


def test_the_published_cross_efficient_vit_is_trained_as_published() -> None:
    config = load_config(preset="cross-efficient-vit-cluster", flags={})
    found = config.teacher
    assert (found.optimiser, found.momentum, found.learning_rate, found.weight_decay) == ("sgd", 0.0, 0.01, 1e-7)
    assert (found.rate, found.step_epochs, found.step_factor) == ("step", 15, 0.1)
    assert (found.balance, found.batch_size, found.patience) == (True, 16, 5)
    assert config.make_model_settings().teacher.same_padding


def test_another_source_does_not_take_over_the_presets_data_keys(tmp_path: Path) -> None:
    place = ["data.source=folder", f"data.path={tmp_path}", "data.take=pictures", "data.size=96"]
    config = load_config(preset="image-classifier-quick", assignments=place, flags={})
    assert (config.data["source"], config.data["size"]) == ("folder", 96)
    assert "pictures_per_identity" not in config.data


def test_a_setting_that_came_later_and_is_left_as_it_is_makes_no_other_study() -> None:
    now = load()
    older = {key: value for key, value in schema.to_plain(now).items() if key not in ("device", "proxy")}
    del older["data"]["source"]
    assert schema.build(Config, older).identity() == now.identity()
    assert "classes" not in load_config(preset="ladeda-quick", flags={}).bound()["data"]
