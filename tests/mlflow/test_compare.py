import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymoo.indicators.hv import HV
from rich.console import Console

from paretolens.errors import ConfigurationError
from paretolens.mlflow.comparable import configuration_differences, differences
from paretolens.mlflow.compare import compare
from paretolens.mlflow.compare_curves import compared_rules
from paretolens.mlflow.compare_page import comparison_html
from paretolens.mlflow.compare_plots import comparison_png
from paretolens.mlflow.compare_table import comparison_json, comparison_lines
from paretolens.mlflow.records import StudyRecord

Make = Callable[..., StudyRecord]
PARAMS = {"data.size": "64", "eps.nodes": "8", "latency.batch": "1", "teacher.epochs": "5", "search.trials": "24"}
TAGS = {"paretolens.latency_backend": "onnxruntime", "paretolens.latency_device": "a CPU", "paretolens.data": "generated"}


@pytest.fixture
def make(trials: Callable[..., pd.DataFrame]) -> Make:
    def record(name: str, seed: int = 0, count: int = 30, **changes: dict[str, str]) -> StudyRecord:
        return StudyRecord(
            name=name,
            run_id=f"run-of-{name}-{seed}",
            experiment_id="1",
            tracking_uri="",
            trials=trials(count, seed).assign(study=name),
            metrics={},
            params={**PARAMS, **changes.get("params", {})},
            tags={**TAGS, **changes.get("tags", {})},
        )

    return record


def _values(record: StudyRecord) -> np.ndarray:
    return record.trials[["accuracy", "latency_ms", "eps"]].to_numpy() * [-1, 1, -1]


def test_hypervolumes_share_one_box_and_agree_with_pymoo(make: Make) -> None:
    a, b = make("a", 1), make("b", 2)
    found = compare([[a], [b]])
    both = np.concatenate([_values(a), _values(b)])
    best, worst = both.min(axis=0), both.max(axis=0)
    for side, record in zip(found.sides, (a, b), strict=True):
        expected = float(HV(ref_point=worst)(_values(record))) / float(np.prod(worst - best))
        assert side.hypervolume == side.hypervolumes[record.name] == pytest.approx(expected)
    assert list(found.reference.values()) == pytest.approx((worst * [-1, 1, -1]).tolist())


def test_who_dominates_whom(make: Make) -> None:
    a, b = make("a", count=3), make("b", 1, count=3)
    a.trials[["accuracy", "latency_ms", "eps"]] = [[0.9, 2.0, 0.5], [0.8, 1.0, 0.5], [0.5, 0.5, 0.1]]
    b.trials[["accuracy", "latency_ms", "eps"]] = [[0.9, 2.0, 0.4], [0.95, 3.0, 0.4], [0.8, 1.0, 0.5]]
    found = compare([[a], [b]])
    assert [(lost.trial, lost.by) for lost in found.dominated["a", "b"]] == [("b/0", ("a/0",))]
    assert found.dominated["b", "a"] == ()
    assert found.coverage["a", "b"] == pytest.approx(2 / 3)  # one is beaten, one is equal
    assert found.coverage["b", "a"] == pytest.approx(1 / 3)


def test_a_side_may_be_several_seeds(make: Make, tmp_path: Path) -> None:
    a = [make("a-1", 1), make("a-2", 2), make("a-3", 3)]
    found = compare([a, [make("b", 4)]])
    side = found.sides[0]
    assert side.name == "a-1,a-2,a-3"
    assert len(side.hypervolumes) == 3
    assert side.hypervolume >= max(side.hypervolumes.values())
    assert side.together.members["trial"].str.match(r"a-[123]/").all()
    assert comparison_png(found, tmp_path / "a.png").stat().st_size > 10_000
    page = comparison_html(found, tmp_path / "a.html").read_text()
    assert "a-1,a-2,a-3" in page
    assert "<script>alert(1)</script>" not in page
    with pytest.raises(ConfigurationError, match="a-1: named twice; name each once"):
        compare([a, a[:1]])


@pytest.mark.parametrize(
    ("changes", "refused", "allowed"),
    [
        ({"tags": {"paretolens.latency_backend": "tensorrt"}}, {"latency_ms", "quiet_p50_ms"}, {"accuracy", "eps", "size_mb"}),
        ({"params": {"latency.batch": "8"}}, {"latency_ms"}, {"accuracy", "eps", "macs"}),
        ({"params": {"eps.nodes": "16"}}, {"eps", "neps"}, {"accuracy", "latency_ms"}),
        ({"params": {"teacher.epochs": "9"}}, {"eps"}, {"accuracy", "test_auc", "latency_ms"}),
        ({"params": {"data.size": "96"}}, {"accuracy", "test_auc", "eps"}, {"latency_ms", "parameters"}),
        ({"tags": {"paretolens.data.version": "abc"}}, {"accuracy", "eps"}, {"latency_ms"}),
        ({"params": {"search.trials": "96", "search.sampler": "random"}}, set(), {"accuracy", "eps", "latency_ms"}),
    ],
)
def test_what_was_measured_differently_is_not_compared(
    make: Make, changes: dict[str, dict[str, str]], refused: set[str], allowed: set[str]
) -> None:
    records = [make("a"), make("b", 1, **changes)]
    assert {name for name in refused | allowed if differences(records, name)} == refused


def test_a_refusal_says_what_differs_and_what_can_be_compared(make: Make) -> None:
    a, b = make("a"), make("b", 1, tags={"paretolens.latency_device": "another CPU"})
    expected = r"a, b can't be compared on latency_ms, since latency_device is a CPU / another CPU; .*--objectives accuracy,eps"
    with pytest.raises(ConfigurationError, match=expected):
        compare([[a], [b]])
    assert compare([[a], [b]], {"accuracy": "max", "eps": "max"}).notes == ()
    found = compare([[a], [b]], force=True)
    assert "latency_ms was measured differently" in found.notes[0]


def test_configurations_side_by_side(make: Make) -> None:
    a, b = make("a"), make("b", 1, params={"search.trials": "96", "search.sampler": "random"}, tags={"paretolens.code": "2"})
    b.trials["params.extra"] = 1
    shown = {difference.key: difference.values for difference in configuration_differences([a, b])}
    assert shown == {"search.sampler": ("not recorded", "random"), "code": ("not recorded", "2")}
    found = compare([[a], [b]])
    assert found.knobs["extra"] == ("–", "1")
    assert found.knobs["width"][0].count(" … ") == 1


def test_what_is_printed_and_written(make: Make) -> None:
    found = compare([[make("a", 1)], [make("b", 2, params={"search.sampler": "random"})]])
    console = Console(width=120, record=True, file=io.StringIO())
    for line in comparison_lines(found):
        console.print(line)
    text = console.export_text()
    assert "hypervolume" in text
    assert "a reaches or beats" in text
    assert "search.sampler" in text
    content = json.loads(comparison_json(found))
    assert content["coverage"]["a"]["b"] == found.coverage["a", "b"]
    assert [side["name"] for side in content["sides"]] == ["a", "b"]
    assert len(content["dominates"]["b"]["a"]) == len(found.dominated["b", "a"])


def test_hardly_anything_to_compare(make: Make, tmp_path: Path) -> None:
    a, b = make("a", 1), make("b", 2)
    empty = replace(b, trials=b.trials.iloc[:0])
    with pytest.raises(ConfigurationError, match="at least two"):
        compare([[a]])
    found = compare([[a], [empty]])
    assert (found.sides[1].hypervolume, found.coverage["b", "a"]) == (0.0, 0.0)
    assert np.isnan(found.coverage["a", "b"])
    assert json.loads(comparison_json(found))["coverage"]["a"]["b"] is None
    comparison_png(found, tmp_path / "a.png")
    comparison_html(found, tmp_path / "a.html")
    list(comparison_lines(found))
    with pytest.raises(ConfigurationError, match="no complete trial"):
        compare([[replace(a, trials=a.trials.iloc[:0])], [empty]])


def test_floor_and_reference_are_drawn_once_and_named_where_they_differ(make: Make, tmp_path: Path) -> None:
    lines = {"eps_floor": 0.11, "eps_reference": 0.83}
    alike = [replace(make(name, seed), metrics=lines) for name, seed in (("a", 1), ("b", 2))]
    found = compare([[alike[0]], [alike[1]]])
    assert [(rule.value, rule.label) for rule in compared_rules(found, "eps")] == [
        (0.11, "untrained students (floor)"),
        (0.83, "retrained teacher"),
    ]
    page = comparison_html(found, tmp_path / "a.html").read_text()
    assert "untrained students (floor)" in page
    assert "retrained teacher" in page
    other = replace(alike[1], metrics={**lines, "eps_floor": 0.2})
    labels = [rule.label for rule in compared_rules(compare([[alike[0]], [other]]), "eps")]
    assert labels == ["untrained students (floor): a", "retrained teacher", "untrained students (floor): b"]
    across = compare([[alike[0]], [other]], {"accuracy": "max", "eps": "max"})
    comparison_png(across, tmp_path / "a.png")
    assert "retrained teacher" in comparison_html(across, tmp_path / "a.html").read_text()
