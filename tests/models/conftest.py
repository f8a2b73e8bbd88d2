from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paretolens.models.registry import build

FRAMES, SIZE, AUDIO = 8, 64, 80
SMALL = {
    "backbone": "resnet18",
    "backbone_width": 0.125,
    "width": 32,
    "depth": 2,
    "heads": 4,
    "ffn": 2,
    "input_frames": FRAMES,
    "input_size": SIZE,
    "audio_frames": AUDIO,
    "audio_convs": [16, 32],
}


@pytest.fixture
def small() -> Callable[..., nn.Module]:
    """A small PinPoint, evaluated, whose arguments can be changed."""

    def make(*, seed: int = 0, **changes: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build("pinpoint", **{**SMALL, **changes}).eval()

    return make


@pytest.fixture
def clips() -> Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]:
    """A batch of clips: image-like frames, audio, and masks that leave the first `seen` frames and `heard` audio frames."""

    def make(
        batch: int = 2, *, seen: int = FRAMES, heard: int = AUDIO, seed: int = 0, size: int = SIZE
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randn(batch * FRAMES, 3, size // 8, size // 8, generator=generator)
        video = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").reshape(batch, FRAMES, 3, size, size)
        audio = torch.randn(batch, AUDIO, 13, generator=generator)
        video_mask = (torch.arange(FRAMES) >= seen).expand(batch, -1).clone()
        audio_mask = (torch.arange(AUDIO) >= heard).expand(batch, -1).clone()
        return video, audio, video_mask, audio_mask

    return make
