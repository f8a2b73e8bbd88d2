"""A study of Cross Efficient ViTs through the command line, as small as it can be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pandas import read_csv

from paretolens.data.generated.encode import write_clip
from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALL = """
data: {train: 32, val: 24, test: 16, unseen: 8, pictures_per_identity: 4, size: 48}
teacher: {epochs: 3, batch_size: 8}
student: {distill: {epochs: 1}, repair: {epochs: 1}, qat: {epochs: 1}}
eps: {samples: 6, nodes: 4, resamples: 100, population: all}
latency: {runs: 8, min_runs: 4, seconds: 0.5}
search: {workers: 1}
model: {size: 48, teacher: {backbone_width: 0.25, small_width: 32, large_width: 32, depth: 1, large_patch: 4}}
space: {large_patch: [4], small_patch: [1], small_stage: [4], backbone_width: [0.25]}
first:
  - {small_width: 32, large_width: 48, heads: 2, hidden: 64, prune_ratio: 0.5, qat: true}
"""


def test_a_cross_efficient_vit_is_searched_and_explained(
    searched: Callable[..., Path], paretolens: Callable[..., Any], tmp_path: Path
) -> None:
    study = searched(tmp_path, SMALL, "--preset", "cross-efficient-vit-quick", trials=1)
    (found,) = (entry for entry in read_records(study) if entry.fate is Fate.EVALUATED)
    assert found.details["precision"] == "int8"
    assert found.metrics["pruned_parameters"] > 0
    assert found.metrics["eps_image"] == pytest.approx(found.values["eps"])
    pictures = next((tmp_path / "runs").glob("cache/generated-pictures/*/pictures")) / "test"
    done = paretolens("predict", str(study / "bundle"), str(pictures), "--heatmap", str(tmp_path / "maps"))
    assert done.returncode == 2
    assert "a heat map needs a model that judges patches" in done.stderr
    crops = tmp_path / "crops" / "video 1"
    crops.mkdir(parents=True)
    for number, picture in enumerate(sorted(path for path in pictures.iterdir() if path.is_file())[:4]):
        (crops / f"{number // 2}_{number % 2}{picture.suffix}").write_bytes(picture.read_bytes())
    tables = tmp_path / "crops.csv", tmp_path / "videos.csv"
    done = paretolens("predict", str(study / "bundle"), str(crops.parent), "--output", str(tables[0]), "--videos", str(tables[1]))
    assert done.returncode == 0, done.stderr
    (video,) = read_csv(tables[1]).to_dict("records")
    assert (video["video"], video["faces"], video["crops"]) == ("video 1", 2, 4)
    faces = [part["probability"].mean() for _, part in read_csv(tables[0]).groupby(lambda row: row % 2)]
    decisive = [p for p in faces if p > 0.55]
    assert video["probability"] == pytest.approx(decisive[0] if decisive else np.mean(faces))
    pixels = np.random.default_rng(0).integers(0, 255, (8, 48, 64, 3)).astype(np.uint8)
    write_clip(tmp_path / "clip.mp4", pixels, 8.0, None, 16_000, crf=20, bit_rate=32_000)
    first = str(next(crops.iterdir()))
    done = paretolens("predict", str(study / "bundle"), first, str(tmp_path / "clip.mp4"), "--frames", "3", "--json")
    assert done.returncode == 0, done.stderr
    picture_said, video_said = (json.loads(line) for line in done.stdout.splitlines())
    assert picture_said["file"] == first
    assert (video_said["frames"], video_said["verdict"]) == (3, ("real", "fake")[video_said["probability"] > 0.5])
    assert_refused_before_anything_is_judged(paretolens, str(study / "bundle"), first, str(tmp_path / "clip.mp4"))
    (crops / "clip.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes())
    done = paretolens("predict", str(study / "bundle"), str(crops))
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 4)
    assert "1 video is left out" in done.stderr
    (crops.parent / "loose.png").write_bytes(picture.read_bytes())
    tables = tmp_path / "more.csv", tmp_path / "more-videos.csv"
    done = paretolens("predict", str(study / "bundle"), str(crops.parent), "--output", str(tables[0]), "--videos", str(tables[1]))
    assert done.returncode == 2
    assert "loose.png lies in none" in done.stderr
    assert not list(tmp_path.glob("more*")), "nothing is judged before"


def assert_refused_before_anything_is_judged(paretolens: Callable[..., Any], bundle: str, picture: str, video: str) -> None:
    for flags, why in (
        ((picture, "--frames", "3"), "--frames is for videos"),
        ((video, "--frames", "3", "--output", "table.csv"), "--frames is for videos"),
        ((picture, video, "--heatmap", "maps"), "clip.mp4 is a video"),
    ):
        done = paretolens("predict", bundle, *flags)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr
