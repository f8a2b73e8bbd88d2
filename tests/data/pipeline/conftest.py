import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paretolens.data.generated.encode import write_clip

RATE = 16_000
Encode = Callable[..., Path]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """Writes a clip of 32 × 32 pixels whose frame k is grey of level `first` + `step` · k."""

    def write(path: Path, *, frames: int = 16, fps: float = 8.0, sound: bool = True, first: int = 40, step: int = 8) -> Path:
        levels = (first + step * np.arange(frames)).clip(0, 255).astype(np.uint8)
        pictures = np.ascontiguousarray(np.broadcast_to(levels[:, None, None, None], (frames, 32, 32, 3)))
        wave = (0.4 * np.sin(2 * np.pi * 440 * np.arange(round(frames / fps * RATE)) / RATE)).astype(np.float32)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, pictures, fps, wave if sound else None, RATE, crf=5, bit_rate=32_000)
        return path

    return write


@pytest.fixture(scope="session")
def lavdf(tmp_path_factory: pytest.TempPathFactory, encode: Encode) -> Path:
    """Twelve clips of 2 s as LAV-DF has them: per split two real ones, one with a fake picture, one with a fake sound."""
    root = tmp_path_factory.mktemp("LAV-DF é")
    entries = []
    for split in ("train", "dev", "test"):
        for number in range(4):
            name, fake = f"{split}/{number:06d}.mp4", number >= 2
            encode(root / name)
            entries.append(
                {
                    "file": name,
                    "n_fakes": int(fake),
                    "fake_periods": [[0.5, 1.0]] if fake else [],
                    "original": f"{split}/{number - 2:06d}.mp4" if fake else None,
                    "modify_video": number == 2,
                    "modify_audio": number == 3,
                    "split": split,
                }
            )
    (root / "metadata.json").write_text(json.dumps(entries))
    return root
