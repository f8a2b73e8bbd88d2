"""Studies of patch detectors and of Cross Efficient ViTs through the command line, as small as they can be."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pandas import read_csv
from PIL import Image

from paretolens.search.cli.main import main
from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate, TrialRecord

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALL = """
data: {train: 32, val: 24, test: 16, unseen: 8, pictures_per_identity: 4, size: 48}
teacher: {epochs: 3, batch_size: 8}
student: {head: {epochs: 1}, distill: {epochs: 1}, repair: {epochs: 1}, qat: {epochs: 1}}
eps: {samples: 6, nodes: 4, resamples: 200, population: all}
latency: {runs: 12, min_runs: 5, seconds: 1}
"""
PATCHES = """
model: {size: 48, teacher: {width: 4, blocks: [1, 1, 1, 1]}}
first:
  - {width: 16, layers: 2, field: 5, prune_ratio: 0.5, qat: true, schedule: two-stages, patch_weight: 1.0}
  - {width: 4, layers: 2, field: 7, stride: 4, pooling: top, patch_weight: 1.0, patch_loss: divergence, prune_ratio: 0.0}
"""
CROSS = """
model: {size: 48, teacher: {backbone_width: 0.25, small_width: 32, large_width: 32, depth: 1, large_patch: 4}}
space: {large_patch: [4], small_patch: [1], small_stage: [4], backbone_width: [0.25]}
first:
  - {small_width: 32, large_width: 48, heads: 2, hidden: 64, prune_ratio: 0.5, qat: true}
"""


def paretolens(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paretolens.search.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


def searched(folder: Path, preset: str, text: str, trials: int) -> Path:
    """The study's folder."""
    (folder / "small.yaml").write_text(SMALL + text)
    flags = ["--preset", preset, "--config", str(folder / "small.yaml"), "--workspace", str(folder / "runs")]
    done = paretolens("search", "--name", "small", "--trials", str(trials), *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs" / "studies" / "small"


def evaluated(study: Path) -> list[TrialRecord]:
    return [entry for entry in read_records(study) if entry.fate is Fate.EVALUATED]


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("patches"), "ladeda-quick", PATCHES, 2)


def test_patches_are_taught_and_every_trial_says_how_they_met(patches: Path) -> None:
    exact, other = evaluated(patches)
    folders = [Path(entry.details["folder"]) for entry in (exact, other)]
    found = [json.loads((folder / "patches.json").read_text()) for folder in folders]
    assert [record["exact"] for record in found] == [True, False]
    assert found[0]["alignment"] == "exact: mean of 3×3 patches, every 4"
    assert "approximate" in found[1]["alignment"]
    assert found[0]["calibration"] == found[1]["calibration"]
    assert found[0]["calibration"]["slope"] == pytest.approx(1.0, abs=0.01)  # the teacher's own logits are calibrated
    assert found[0]["calibration"]["offset"] == pytest.approx(0.0, abs=0.01)
    assert exact.details["precision"] == "int8"
    for entry, folder in zip((exact, other), folders, strict=True):
        assert np.isfinite([entry.values[name] for name in ("accuracy", "latency_ms", "eps")]).all()
        assert list((folder / "overlays").glob("*.png"))


def test_the_head_is_taught_before_the_rest(patches: Path) -> None:
    lines = [json.loads(line) for line in (patches / "epochs.jsonl").read_text().splitlines()]
    stages = [next(name.removesuffix("_val_loss") for name in line["metrics"] if name.endswith("_val_loss")) for line in lines
              if line["number"] == 0]  # fmt: skip
    assert stages[:2] == ["head", "distill"]


def test_the_bundle_draws_what_patches_say(patches: Path, tmp_path: Path) -> None:
    bundle = patches / "bundle"
    assert paretolens("verify", str(bundle)).returncode == 0
    pictures = next(patches.parents[1].glob("cache/generated-pictures/*/pictures")) / "test"
    first = sorted(path for path in pictures.iterdir() if path.is_file())[0]
    script = [sys.executable, str(bundle / "predict.py"), "--json", "--heatmap", str(tmp_path / "maps"), str(first)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] in ("real", "fake")
    with Image.open(tmp_path / "maps" / f"{first.name}.heatmap.png") as found:
        assert found.size == (48, 48)
        assert np.asarray(found).std() > 1


def test_a_cross_efficient_vit_is_searched_and_explained(tmp_path: Path) -> None:
    (found,) = evaluated(searched(tmp_path, "cross-efficient-vit-quick", CROSS, 1))
    assert found.details["precision"] == "int8"
    assert found.metrics["pruned_parameters"] > 0
    assert found.metrics["eps_image"] == pytest.approx(found.values["eps"])
    bundle = tmp_path / "runs" / "studies" / "small" / "bundle"
    pictures = next((tmp_path / "runs").glob("cache/generated-pictures/*/pictures")) / "test"
    done = paretolens("predict", str(bundle), str(pictures), "--heatmap", str(tmp_path / "maps"))
    assert done.returncode == 2
    assert "a heat map needs a model that judges patches" in done.stderr
    crops = tmp_path / "crops" / "video 1"
    crops.mkdir(parents=True)
    for number, picture in enumerate(sorted(path for path in pictures.iterdir() if path.is_file())[:4]):
        (crops / f"{number // 2}_{number % 2}{picture.suffix}").write_bytes(picture.read_bytes())
    tables = tmp_path / "crops.csv", tmp_path / "videos.csv"
    assert main(["predict", str(bundle), str(crops.parent), "--output", str(tables[0]), "--videos", str(tables[1])]) == 0
    (video,) = read_csv(tables[1]).to_dict("records")
    assert (video["video"], video["faces"], video["crops"]) == ("video 1", 2, 4)
    faces = [part["probability"].mean() for _, part in read_csv(tables[0]).groupby(lambda row: row % 2)]
    decisive = [p for p in faces if p > 0.55]
    assert video["probability"] == pytest.approx(decisive[0] if decisive else np.mean(faces))
