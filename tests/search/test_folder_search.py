"""A search on a data set that lies on disk, from its own layout to a bundle, through the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretolens.data.generated.encode import write_clip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONFIG = """
data: {source: folder, path: PATH, layout: auto, frames: 4, fps: 8, size: 32, select: motion, oversample: 2}
model: {frames: 4, frame_size: 32, audio_frames: 40, teacher: {backbone_width: 0.125, width: 32, depth: 1, heads: 4}}
teacher: {epochs: 1, batch_size: 8}
student: {mirror: false, distill: {epochs: 1, batch_size: 8}, repair: {epochs: 1, batch_size: 8}}
space: {width: [32], depth: [1], frames: [4], frame_size: [32], backbone: [mobilenet_v3_small], gamma: 0.0}
eps: {samples: 4, nodes: 4, resamples: 100, population: all}
latency: {runs: 8, min_runs: 4, seconds: 0.5}
search: {workers: 1}
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LAV-DF in small: noise that flickers in the manipulated period of the fakes."""
    root, rng, entries = tmp_path_factory.mktemp("LAV-DF"), np.random.default_rng(0), []
    for split, count in (("train", 16), ("dev", 10), ("test", 10)):
        (root / split).mkdir()
        for number in range(count):
            name, fake = f"{split}/{number:06d}.mp4", number % 2 == 1
            pictures = rng.integers(60, 120, (8, 32, 32, 3), np.uint8)
            pictures[2:6:2] += np.uint8(100 * fake)
            wave = (0.2 * rng.standard_normal(16_000)).astype(np.float32)
            write_clip(root / name, pictures, 8.0, wave, 16_000, crf=20, bit_rate=32_000)
            original = f"{split}/{number - 1:06d}.mp4" if fake else None
            entry = {"file": name, "n_fakes": int(fake), "fake_periods": [[0.25, 0.75]] if fake else [], "original": original}
            entries.append(entry | {"modify_video": fake, "modify_audio": False, "split": split})
    (root / "metadata.json").write_text(json.dumps(entries))
    return root


def test_a_folder_is_searched_to_a_bundle_that_judges_its_clips(
    searched: Callable[..., Path], paretolens: Callable[..., Any], dataset: Path, tmp_path: Path
) -> None:
    study = searched(tmp_path, CONFIG.replace("PATH", str(dataset)), trials=1)
    assert (study / "bundle").is_dir()
    assert json.loads((study / "bundle" / "manifest.json").read_text())["preprocessing"]["reading"]["select"] == "motion"
    judged = paretolens("predict", str(study / "bundle"), str(dataset / "test" / "000003.mp4"), "--json")
    assert judged.returncode == 0, judged.stderr
    assert json.loads(judged.stdout)["verdict"] in ("fake", "real")
