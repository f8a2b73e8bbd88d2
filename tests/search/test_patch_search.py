"""A study of patch detectors through the command line, as small as it can be."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALL = """
data: {train: 24, val: 16, test: 8, unseen: 8, pictures_per_identity: 4, size: 48}
teacher: {epochs: 2, batch_size: 8}
student: {head: {epochs: 1}, distill: {epochs: 1}, repair: {epochs: 1}, qat: {epochs: 1}}
eps: {samples: 6, nodes: 4, resamples: 100, population: all}
latency: {runs: 8, min_runs: 4, seconds: 0.5}
search: {workers: 1}
model: {size: 48, teacher: {width: 4, blocks: [1, 1, 1, 1]}}
first:
  - {width: 16, layers: 2, field: 5, prune_ratio: 0.5, qat: true, schedule: two-stages, patch_weight: 1.0}
  - {width: 4, layers: 2, field: 7, stride: 4, pooling: top, patch_weight: 1.0, patch_loss: divergence, prune_ratio: 0.0}
"""


@pytest.fixture(scope="module")
def patches(searched: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("patches"), SMALL, "--preset", "ladeda-quick", trials=2)


def test_patches_are_taught_and_every_trial_says_how_they_met(patches: Path) -> None:
    exact, other = (entry for entry in read_records(patches) if entry.fate is Fate.EVALUATED)
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


def test_the_bundle_draws_what_patches_say(patches: Path, paretolens: Callable[..., Any], tmp_path: Path) -> None:
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
