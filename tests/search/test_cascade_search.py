"""A study of cascades through the command line, small but real: thresholds and trees among the knobs, one bundle."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TINY = """
data: {train: 24, val: 16, test: 8, unseen: 8, pictures_per_identity: 4, size: 32}
model: {size: 32, teacher: {cnn: resnet18, multiplier: 0.125, embed: 16, hidden: 16, align: 8}}
teacher: {epochs: 1}
student: {distill: {epochs: 1}, repair: {epochs: 1}}
space:
  first_network: [mobilenet_v3_small]
  first_multiplier: [0.25]
  first_size: [32]
  second_cnn: [resnet18]
  second_multiplier: [0.125]
  second_size: [32]
  second_align: [8]
  third_trees: [0, 5]
eps: {samples: 6, nodes: 4, resamples: 100, population: all}
latency: {runs: 8, min_runs: 4, seconds: 0.5}
search: {workers: 1}
first:
  - {third_trees: 5, trust_fake: 0.7, trust_real: 0.3, prune_ratio: 0.3}
  - {third_trees: 0, trust_fake: 1.0, trust_real: 0.0, prune_ratio: 0.3}
"""


@pytest.fixture(scope="module")
def study(searched: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("cascades"), TINY, "--preset", "aware-net-quick", trials=2)


def test_the_latency_is_what_the_stages_take_by_what_is_passed_on(study: Path) -> None:
    records = [entry for entry in read_records(study) if entry.fate is Fate.EVALUATED]
    assert len(records) == 2
    for entry in records:
        folder, share = Path(entry.details["folder"]), entry.metrics["cascade_passed_on"]
        assert json.loads((folder / "stages.json").read_text()) == {"passed_on": share}
        assert f"{100 * share:.1f} %" in entry.details["latency"]["note"]
        assert entry.metrics["cascade_filtration"] == pytest.approx(1 - share)
        assert {"stage-1.onnx", "stage-2.onnx", "model.onnx", "cascade.json"} <= {path.name for path in folder.iterdir()}
    assert records[1].metrics["cascade_passed_on"] == 1.0  # thresholds 0 and 1: nothing is decided early
    assert [json.loads((Path(entry.details["folder"]) / "cascade.json").read_text())["trees"] for entry in records] == [5, 0]


def test_cascades_that_differ_in_thresholds_and_trees_share_all_training(study: Path) -> None:
    records = [entry for entry in read_records(study) if entry.fate is Fate.EVALUATED]
    assert sorted(entry.details["reused"] for entry in records) == [[], ["distill", "prune"]]  # either may be the first


def test_the_bundle_holds_all_stages_in_one_file_that_judges_pictures(study: Path, paretolens: Callable[..., Any]) -> None:
    bundle = study / "bundle"
    verified = paretolens("verify", str(bundle))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert [node.op_type for node in onnx.load(bundle / "model.onnx").graph.node].count("If") == 1
    pictures = next(study.parents[1].glob("cache/generated-pictures/*/pictures")) / "test"
    done = subprocess.run(
        [sys.executable, str(bundle / "predict.py"), "--json", str(pictures)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == 8
    assert {line["stage"] for line in said} <= {1, 2}
    manifest = json.loads((bundle / "manifest.json").read_text())
    (chosen,) = (entry for entry in read_records(study) if manifest["details"]["trial"] == f"trial-{entry.number:04d}")
    for name, direction in (("cascade_filtration", "higher"), ("cascade_leakage", "lower")):
        found = manifest["objectives"][name]
        assert (found["value"], found["direction"]) == (pytest.approx(chosen.metrics[name]), direction)
