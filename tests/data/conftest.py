from pathlib import Path

import numpy as np
import pytest

from paretolens.data.generated.encode import write_clip
from paretolens.data.generated.settings import GeneratedSettings
from paretolens.data.prepare import prepare
from paretolens.data.samples import SampleSet

RATE = 16_000


@pytest.fixture(scope="session")
def settings() -> GeneratedSettings:
    return GeneratedSettings(seed=5, train=48, val=16, test=16, unseen=8, clips_per_identity=6)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def sets(settings: GeneratedSettings, cache: Path) -> dict[str, SampleSet]:
    return prepare(settings, cache, workers=1)


@pytest.fixture(scope="session")
def tone() -> np.ndarray:
    """One second that rises from 200 Hz to 3 kHz, with a little noise."""
    time = np.arange(RATE) / RATE
    noise = np.random.default_rng(0).normal(0.0, 0.01, RATE)
    return (0.4 * np.sin(2 * np.pi * (200.0 * time + 1400.0 * time**2)) + noise).astype(np.float32)


@pytest.fixture
def make_clip(tmp_path: Path, tone: np.ndarray):
    """Writes a clip whose frame k is grey of level 20 + 20 k."""

    def make(
        name: str = "clip.mp4", *, frames: int = 8, fps: float = 8.0, width: int = 64, height: int = 64, sound: bool = True
    ) -> Path:
        levels = (20 + 20 * np.arange(frames) % 220).astype(np.uint8)
        pictures = np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3))
        wave = np.resize(tone, round(frames / fps * RATE)) if sound else None
        path = tmp_path / name
        write_clip(path, np.ascontiguousarray(pictures), fps, wave, RATE, crf=10, bit_rate=96_000)
        return path

    return make
