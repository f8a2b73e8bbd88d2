"""The configurations for real data sets on fixtures in their layouts, as small as benchmarks/real_layouts.py makes them."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from paretolens.search.config import load_config, presets

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CLUSTER = sorted(name for name in presets() if name.endswith("-cluster"))


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import bench_layouts

    return bench_layouts


def test_every_preset_for_a_cluster_is_tried_by_the_benchmark(layouts: ModuleType) -> None:
    assert sorted(layouts.CASES) == CLUSTER
    assert {name for case in layouts.CASES.values() for name in case.layouts} == set(layouts.LAYOUTS)


@pytest.mark.parametrize("preset", CLUSTER)
def test_teacher_and_first_students_see_the_samples_of_a_real_layout(layouts: ModuleType, preset: str, tmp_path: Path) -> None:
    case = layouts.CASES[preset]
    layout, root = layouts.LAYOUTS[case.layouts[0]], tmp_path / "data"
    root.mkdir()
    layout.write(root, layouts.Material(side=48), 4)
    config = load_config(preset=preset, assignments=[f"data.path={root}", *layout.settings, *case.small, *case.fast], flags={})
    config.validate()
    family, settings = config.make_family(), config.make_model_settings()
    splits = config.make_source().prepare(config.make_data_settings(), tmp_path / "cache", workers=1)
    signature = replace(splits["train"].signature, outputs=family.signature(settings).outputs)
    assert signature == family.signature(settings)
    inputs = splits["test"].batch(slice(0, 2))
    students = [family.student(genome, signature, seed=0) for genome in config.first_genomes() or [config.make_space().default()]]
    for model in (family.teacher(settings, seed=0), *students):
        assert logit_of(model.eval(), inputs).shape == (2, 1)


def logit_of(model: Any, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    with torch.no_grad():
        logit: torch.Tensor = model(*inputs).logit
    return logit


@pytest.mark.parametrize("preset", CLUSTER)
def test_a_preset_as_it_stands_is_valid_but_for_the_data(preset: str, tmp_path: Path) -> None:
    config = load_config(preset=preset, assignments=[f"data.path={tmp_path}"], flags={})
    assert not config.make_source().generated
    assert len(config.first_genomes()) < config.search.trials
    assert config.make_family().signature(config.make_model_settings()).inputs == config.make_data_settings().signature().inputs


def test_the_published_thresholds_are_tried_first() -> None:
    first = load_config(preset="aware-net-cluster", flags={}).first_genomes()
    assert [(genome["trust_fake"], genome["trust_real"]) for genome in first] == [(0.98, 0.02), (0.9, 0.1), (1.0, 0.0)]
    assert len({tuple(value for name, value in genome.items() if not name.startswith("trust")) for genome in first}) == 1
