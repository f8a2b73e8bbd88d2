"""Every layout with encoded files, found by itself, split, decoded and turned into samples."""

import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from paretolens.data.folder import FolderSource
from paretolens.data.pipeline.settings import FolderSettings, Take
from paretolens.data.readers.registry import find_reader
from paretolens.data.samples import SampleSet

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
EXPECTED = {  # real and fake samples of each split; of several where the splits are made and not the layout's own
    "LAV-DF": {"train": (4, 4), "val": (4, 4), "test": (4, 4)},
    "DFDC": {"train val": (8, 8), "test": (2, 2)},
    "FaceForensics++": {"train": (4, 8), "val": (4, 8), "test": (4, 8)},
    "Celeb-DF-v2": {"train val": (16, 8), "test": (8, 4)},
    "FakeAVCeleb": {"train val test": (12, 36)},
    "WildRF": {"train": (8, 8), "val": (8, 8), "test": (24, 24)},
    "ForenSynths": {"train": (8, 8), "val": (8, 8), "test": (16, 16)},
    "DeepfakeBench": {"train": (8, 8), "val": (8, 8), "test": (8, 8)},
    "class folders": {"train": (8, 8), "val": (8, 8), "test": (8, 8)},
    "manifest": {"train": (8, 8), "val": (8, 8), "test": (8, 8)},
}


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What the benchmarks write, which are run in their folder, not installed."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import bench_layouts

    return bench_layouts


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_encoded_data_set_becomes_samples(layouts: ModuleType, tmp_path: Path, name: str) -> None:
    layout, root = layouts.LAYOUTS[name], tmp_path / name
    root.mkdir()
    layout.write(root, layouts.Material(), 4)
    assert find_reader(root).name == layout.reader
    clips = name in ("LAV-DF", "FakeAVCeleb")
    shares = {key.removeprefix("data."): float(value) for key, _, value in (text.partition("=") for text in layout.settings)}
    settings = FolderSettings(
        path=root, take=Take.CLIPS if clips else Take.PICTURES, size=16, frames=4, fps=8.0, per_video=1, **shares
    )
    sets = FolderSource().prepare(settings, tmp_path / "cache", workers=1)
    assert {splits: counts([sets[split] for split in splits.split()]) for splits in EXPECTED[name]} == EXPECTED[name]
    assert min(count for samples in sets.values() for count in counts([samples])) > 0
    groups = [set(samples.groups.tolist()) for samples in sets.values()]
    assert len(set.union(*groups)) == sum(map(len, groups)), "a recording stands in two splits"
    skipped = next((tmp_path / "cache").rglob("skipped.csv"))
    assert skipped.read_text().splitlines() == ["file,reason"]
    frames = {samples.videos is not None for samples in sets.values()}
    assert frames == {name == "DeepfakeBench"}, "two frames of each video"
    if clips:
        heard_and_seen(sets)


def counts(several: list[SampleSet]) -> tuple[int, int]:
    found = Counter(label for samples in several for label in samples.labels.tolist())
    return found[0.0], found[1.0]


def heard_and_seen(sets: dict[str, SampleSet]) -> None:
    """What is fake is where the lists say: in the picture, in the sound, or in both."""
    for samples in sets.values():
        assert not samples.arrays["audio_mask"].all()
        fake = samples.labels > 0.5
        assert samples.sounds is not None
        seen = samples.regions.any(axis=(1, 2, 3))
        assert ((seen | samples.sounds) == fake).all()
        assert (np.diff(samples.periods[fake]) > 0).all()
