"""Tiny audio-visual detectors and explained sets."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paretolens.evaluators.eps import EpsSettings, ExplainedSet, Population, TeacherReference
from paretolens.models.signature import Detection, InputKind, InputSpec, Signature

FRAMES, SIDE, LENGTH, COEFFICIENTS = 4, 16, 18, 5


class TinyDetector(nn.Module):
    """Smooth, cheap, with a mask for each modality; frames and coefficients that are masked do not matter."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.picture = nn.Sequential(
                nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.SiLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.SiLU()
            )
            self.sound = nn.GRU(COEFFICIENTS, 8, batch_first=True)
            self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Detection:
        seen = self.picture(video.flatten(0, 1)).mean((2, 3)).unflatten(0, video.shape[:2])
        heard = self.sound(audio)[0]
        both = torch.cat([mean(seen, video_mask), mean(heard, audio_mask)], dim=1)
        nothing = both.new_zeros(len(both), 0)
        return Detection(3.0 * self.head(both), nothing, nothing)


def mean(x: Tensor, ignore: Tensor) -> Tensor:
    keep = (~ignore).to(x.dtype)[..., None]
    return (x * keep).sum(1) / keep.sum(1)


@pytest.fixture
def tiny_signature() -> Signature:
    return Signature(
        inputs=(
            InputSpec(name="video", shape=(FRAMES, 3, SIDE, SIDE), kind=InputKind.VIDEO, mask="video_mask"),
            InputSpec(name="audio", shape=(LENGTH, COEFFICIENTS), kind=InputKind.AUDIO, mask="audio_mask"),
            InputSpec(name="video_mask", shape=(FRAMES,), kind=InputKind.MASK),
            InputSpec(name="audio_mask", shape=(LENGTH,), kind=InputKind.MASK),
        ),
        outputs=("logit", "offset", "attention"),
    )


@pytest.fixture
def tiny_detector() -> Callable[[int], TinyDetector]:
    return TinyDetector


@pytest.fixture
def tiny_explained(tiny_signature: Signature) -> ExplainedSet:
    """24 samples of 8 source clips; a third of them are padded by a frame and by five audio frames."""
    generator = torch.Generator().manual_seed(7)
    count = 24
    video_mask, audio_mask = torch.zeros(count, FRAMES, dtype=torch.bool), torch.zeros(count, LENGTH, dtype=torch.bool)
    video_mask[::3, -1] = True
    audio_mask[::3, -5:] = True
    inputs = (
        torch.randn(count, FRAMES, 3, SIDE, SIDE, generator=generator),
        torch.randn(count, LENGTH, COEFFICIENTS, generator=generator),
        video_mask,
        audio_mask,
    )
    baseline = (torch.zeros(1, FRAMES, 3, SIDE, SIDE), torch.zeros(1, LENGTH, COEFFICIENTS), None, None)
    return ExplainedSet.of_tensors(tiny_signature, inputs, baseline, groups=np.arange(count) // 3)


@pytest.fixture
def tiny_settings() -> EpsSettings:
    return EpsSettings(population=Population.ALL, video_grid=4, nodes=8, probes=8, resamples=200)


@pytest.fixture
def tiny_reference(tiny_explained: ExplainedSet, tiny_settings: EpsSettings) -> TeacherReference:
    return TeacherReference.compute(TinyDetector(0), tiny_explained, tiny_settings)
