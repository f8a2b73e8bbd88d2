from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from paretolens.data.preprocessing import ClipSettings, Preprocessing, audio_visual_signature
from paretolens.data.samples import IN_SYNC, SampleSet
from paretolens.models.registry import build

FRAMES, SIZE, SOUNDS = 4, 32, 40


def make_samples(count: int, seed: int = 0) -> SampleSet:
    """Noise, with a bright square in the picture and a loud coefficient in the sound of every fake; some clips are padded."""
    generator = np.random.default_rng(seed)
    clip = ClipSettings(frames=FRAMES, fps=8.0, size=SIZE)
    signature = audio_visual_signature(clip)
    labels = (np.arange(count) % 2).astype(np.float32)
    video = generator.integers(60, 160, (count, FRAMES, 3, SIZE, SIZE), dtype=np.uint8)
    audio = generator.normal(size=(count, SOUNDS, 13)).astype(np.float32)
    video[labels == 1, :, :, 8:24, 4:16] += 60
    audio[labels == 1, :, 2] += 1.5
    video_mask, audio_mask = np.zeros((count, FRAMES), bool), np.zeros((count, SOUNDS), bool)
    video_mask[::3, 3:], audio_mask[::3, 30:] = True, True
    return SampleSet(
        signature=signature,
        preprocessing=Preprocessing(clip=clip),
        arrays={"video": video, "audio": audio, "video_mask": video_mask, "audio_mask": audio_mask},
        labels=labels,
        ids=tuple(f"clip{row}" for row in range(count)),
        groups=np.arange(count) // 2,
        identities=np.arange(count) // 4,
        kinds=tuple("fake" if label else "real" for label in labels),
        strengths=labels.copy(),
        offsets=np.where(labels > 0, -100, IN_SYNC).astype(np.int64),
        regions=np.zeros((count, FRAMES, 16, 16), bool),
        periods=np.zeros((count, 2), np.float32),
        mean_image=np.full((3, SIZE, SIZE), 110, np.float32),
        fingerprint=f"planted-{count}-{seed}",
    )


def make_model(seed: int = 0, **arguments: object) -> nn.Module:
    plain: dict[str, object] = {
        "backbone": "resnet18",
        "backbone_width": 0.125,
        "width": 32,
        "depth": 1,
        "heads": 4,
        "ffn": 2,
        "dropout": 0.0,
        "input_frames": FRAMES,
        "input_size": SIZE,
        "audio_frames": SOUNDS,
        "audio_convs": [16, 32],
    }
    torch.manual_seed(seed)
    return build("pinpoint", **{**plain, **arguments})


@pytest.fixture(scope="session")
def train() -> SampleSet:
    return make_samples(48)


@pytest.fixture(scope="session")
def val() -> SampleSet:
    return make_samples(24, seed=1)


@pytest.fixture
def model_of() -> Callable[..., nn.Module]:
    return make_model


@pytest.fixture
def samples_of() -> Callable[..., SampleSet]:
    return make_samples
