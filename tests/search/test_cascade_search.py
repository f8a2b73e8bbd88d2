"""A study of cascades through the command line, small but real: thresholds and trees among the knobs, one bundle."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TINY = """
data: {train: 32, val: 24, test: 16, unseen: 8, pictures_per_identity: 4, size: 32}
model: {size: 32, teacher: {cnn: resnet18, multiplier: 0.125, embed: 16, hidden: 16, align: 8}}
teacher: {epochs: 2}
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
eps: {samples: 6, nodes: 4, resamples: 200, population: all}
latency: {runs: 12, min_runs: 5, seconds: 1}
first:
  - {third_trees: 5, trust_fake: 0.7, trust_real: 0.3, prune_ratio: 0.3}
  - {third_trees: 0, trust_fake: 1.0, trust_real: 0.0, prune_ratio: 0.3}
"""


def paretolens(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paretolens.search.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cascades")
    (folder / "tiny.yaml").write_text(TINY)
    preset = ["--preset", "aware-net-quick", "--config", str(folder / "tiny.yaml")]
    done = paretolens("search", "--name", "tiny", "--trials", "2", *preset, "--workspace", str(folder / "runs"))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs" / "studies" / "tiny"


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
    assert [entry.details["reused"] for entry in records] == [[], ["distill", "prune"]]


def test_the_bundle_holds_all_stages_in_one_file_that_judges_pictures(study: Path) -> None:
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
    assert len(said) == 16
    assert {line["stage"] for line in said} <= {1, 2}
    manifest = json.loads((bundle / "manifest.json").read_text())
    (chosen,) = (entry for entry in read_records(study) if manifest["details"]["trial"] == f"trial-{entry.number:04d}")
    for name, direction in (("cascade_filtration", "higher"), ("cascade_leakage", "lower")):
        found = manifest["objectives"][name]
        assert (found["value"], found["direction"]) == (pytest.approx(chosen.metrics[name]), direction)
