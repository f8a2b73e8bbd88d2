"""A whole study of picture classifiers through the command line, small but real: search, front, bundle, verdicts, table."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate

Run = Callable[..., Any]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TINY = """
data: {train: 24, val: 16, test: 8, unseen: 8, pictures_per_identity: 4, size: 48}
model: {size: 48, teacher: {multiplier: 0.25}}
teacher: {epochs: 1}
student: {distill: {epochs: 1}, repair: {epochs: 1}, qat: {epochs: 1}}
space: {input_size: [48], network: [resnet18, mobilenet_v3_small, vit], multiplier: [0.125, 0.25]}
eps: {samples: 6, nodes: 4, resamples: 100, population: all}
latency: {runs: 8, min_runs: 4, seconds: 0.5}
search: {workers: 1}
first:
  - {network: resnet18, multiplier: 0.125, prune_ratio: 0.4, qat: true}
  - {network: vit, vit_width: 32, vit_depth: 2, prune_ratio: 0.0, qat: false}
"""


@pytest.fixture(scope="module")
def study(searched: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("pictures"), TINY, "--preset", "image-classifier-quick", trials=2)


@pytest.fixture(scope="module")
def pictures(study: Path) -> Path:
    return next(study.parents[1].glob("cache/generated-pictures/*/pictures")) / "test"


def test_a_convolutional_and_an_attentive_student_are_scored(study: Path) -> None:
    records = [entry for entry in read_records(study) if entry.fate is Fate.EVALUATED]
    assert [entry.genome["network"] for entry in records] == ["resnet18", "vit"]
    assert records[0].details["precision"] == "int8"
    for entry in records:
        assert entry.metrics["eps_image"] == pytest.approx(entry.values["eps"])
        assert list((Path(entry.details["folder"]) / "overlays").glob("*.png"))


def test_the_bundle_judges_pictures_without_torch(study: Path, paretolens: Run, pictures: Path) -> None:
    bundle = study / "bundle"
    verified = paretolens("verify", str(bundle))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "av==" not in (bundle / "requirements.txt").read_text()
    guard = (
        "import runpy, sys\n"
        "class Guard:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'paretolens', 'av', 'scipy', 'onnx'):\n"
        "            raise ImportError(f'{name} must not be needed')\n"
        "sys.meta_path.insert(0, Guard())\n"
        "sys.argv = sys.argv[1:]\n"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", guard, str(bundle / "predict.py"), "--json", str(pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(result["file"]) for result in results] == sorted(path for path in pictures.iterdir() if path.suffix != ".npz")
    assert {result["verdict"] for result in results} <= {"real", "fake"}


def test_the_bundle_says_what_the_exported_file_said_in_the_search(study: Path, paretolens: Run, pictures: Path) -> None:
    bundle = study / "bundle"
    trial = json.loads((bundle / "manifest.json").read_text())["details"]["trial"]
    record = next(entry for entry in read_records(study) if f"trial-{entry.number:04d}" == trial)
    done = paretolens("predict", str(bundle), str(pictures), "--output", str(study / "t.csv"))
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(study / "t.csv")
    entries = json.loads((pictures.parent / "metadata.json").read_text())
    labels = {Path(entry["file"]).name: entry["label"] for entry in entries if entry["split"] == "test"}
    right = np.mean([labels[row.clip] == row.verdict for row in table.itertuples()])
    assert right == pytest.approx(record.metrics["test_accuracy"])


def test_a_clip_is_refused_and_a_bad_picture_does_not_stop_the_others(study: Path, paretolens: Run, tmp_path: Path) -> None:
    bundle = str(study / "bundle")
    Image.new("RGB", (60, 40)).save(tmp_path / "good.webp")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    done = paretolens("predict", bundle, str(tmp_path / "bad.jpg"), str(tmp_path / "good.webp"))
    assert done.returncode == 2
    assert "bad.jpg" in done.stderr
    assert "good.webp" in done.stdout
    stream = paretolens("predict", bundle, "--stream", str(tmp_path / "good.webp"))
    assert stream.returncode == 2
    assert "are for clips" in stream.stderr
