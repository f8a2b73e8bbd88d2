from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from paretolens.data.generated.encode import write_clip
from paretolens.data.preprocessing import ClipSettings, Normaliser, Preprocessing, audio_visual_signature
from paretolens.exporters.bundle import BundleContent, Objective, write_bundle
from paretolens.exporters.onnx import OnnxArtefact, export_onnx
from paretolens.exporters.parity import Parity, check_parity
from paretolens.models.registry import build
from paretolens.models.signature import Detection, InputKind, Signature

CLIP = ClipSettings(frames=4, fps=8.0, size=32)


@pytest.fixture(scope="session")
def signature() -> Signature:
    return audio_visual_signature(CLIP)


@pytest.fixture(scope="session")
def batch_of(signature: Signature) -> Callable[..., tuple[Tensor, ...]]:
    def make(size: int, seed: int = 0) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        made = []
        for spec in signature.inputs:
            if spec.kind is InputKind.MASK:
                last = torch.randint(spec.shape[0] // 2, spec.shape[0] + 1, (size, 1), generator=generator)
                made.append(torch.arange(spec.shape[0]).expand(size, -1) >= last)
            else:
                made.append(torch.randn(size, *spec.shape, generator=generator))
        return tuple(made)

    return make


@pytest.fixture(scope="session")
def student() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(
            "pinpoint",
            backbone="mobilenet_v3_small",
            width=32,
            depth=1,
            heads=2,
            input_frames=CLIP.frames,
            input_size=CLIP.size,
            audio_frames=CLIP.audio_frames,
        )
    return model.eval()


@pytest.fixture(scope="session")
def exported(
    student: nn.Module,
    signature: Signature,
    batch_of: Callable[..., tuple[Tensor, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> OnnxArtefact:
    return export_onnx(student, signature, batch_of(2), tmp_path_factory.mktemp("exported") / "model.onnx")


class Quantised(nn.Module):
    """A convolution and two linear layers with fake-quantised weights and activations, in the detectors' signature."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 2, 1)
        self.sound = nn.Linear(13, 16)
        self.verdict = nn.Linear(32, 1)
        self.offset = nn.Linear(32, 11)

    @staticmethod
    def weight(value: Tensor) -> Tensor:
        scale = value.detach().abs().flatten(1).amax(1) / 127.0
        return torch.fake_quantize_per_channel_affine(value, scale, torch.zeros_like(scale, dtype=torch.int32), 0, -128, 127)

    @staticmethod
    def active(value: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(value, 0.03, 0, -128, 127)

    def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Detection:
        frames = self.active(video.flatten(0, 1))
        frames = torch.relu(nn.functional.conv2d(frames, self.weight(self.conv.weight), self.conv.bias, 2, 1)).mean((2, 3))
        seen = (frames.view(*video.shape[:2], -1) * (~video_mask)[:, :, None]).mean(1)
        tokens = nn.functional.linear(self.active(audio), self.weight(self.sound.weight), self.sound.bias)
        heard = (tokens * (~audio_mask)[:, :, None]).mean(1)
        both = torch.cat([seen, heard], 1)
        attention = torch.softmax(tokens @ frames.view(*video.shape[:2], -1).transpose(1, 2), -1)
        return Detection(self.verdict(both), self.offset(both), attention)


@pytest.fixture(scope="session")
def quantised() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Quantised().eval()


@pytest.fixture(scope="session")
def preprocessing() -> Preprocessing:
    count = CLIP.audio.coefficients
    mean, std = np.linspace(-20.0, 1.0, count), np.linspace(9.0, 1.0, count)
    return Preprocessing(clip=CLIP, normaliser=Normaliser(audio_mean=tuple(mean.tolist()), audio_std=tuple(std.tolist())))


def _pictures(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """A bright disc that wanders over a noisy gradient."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    frames = []
    for index in range(count):
        disc = (x - width * (0.3 + 0.04 * index)) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2
        base = np.stack([x * 255 / width, y * 255 / height, np.full_like(x, 90)], -1) + generator.normal(0, 8, (height, width, 3))
        frames.append(np.clip(base + disc[:, :, None] * 80, 0, 255).astype(np.uint8))
    return np.stack(frames)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real .mp4 files: the usual one, short, without sound, large and wide at another rate, and with another frame rate."""
    folder = tmp_path_factory.mktemp("clips")

    def write(name: str, count: int, size: tuple[int, int], fps: float, *, rate: int | None = None, seconds: float = 0.0) -> Path:
        wave = None
        if rate is not None:
            t = np.arange(round(seconds * rate)) / rate
            wave = (0.4 * np.sin(2 * np.pi * (180 + 90 * t) * t) * (1 + np.sin(2 * np.pi * 5 * t)) / 2).astype(np.float32)
        path = folder / f"{name}.mp4"
        write_clip(path, _pictures(count, *size, len(name)), fps, wave, rate or 16000, crf=23, bit_rate=64000)
        return path

    return {
        "usual": write("usual", 16, (32, 32), 16.0, rate=16000, seconds=1.0),
        "short": write("short", 5, (48, 48), 16.0, rate=16000, seconds=0.31),
        "silent": write("silent", 16, (64, 64), 16.0),
        "large": write("large", 15, (302, 410), 25.0, rate=44100, seconds=0.6),
        "slow": write("slow", 3, (64, 48), 5.0, rate=24000, seconds=0.6),
    }


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "overlay.png"
    Image.fromarray(np.full((8, 8, 3), 120, np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def parity(student: nn.Module, exported: OnnxArtefact, batch_of: Callable[..., tuple[Tensor, ...]]) -> Parity:
    return check_parity(student, exported.path, [batch_of(3)])


@pytest.fixture(scope="session")
def extras(
    picture: Path, signature: Signature, batch_of: Callable[..., tuple[Tensor, ...]]
) -> tuple[Path, dict[str, np.ndarray]]:
    """A picture and three samples."""
    return picture, {spec.name: tensor.numpy() for spec, tensor in zip(signature.inputs, batch_of(3, 5), strict=True)}


@pytest.fixture(scope="session")
def content(
    exported: OnnxArtefact,
    signature: Signature,
    preprocessing: Preprocessing,
    parity: Parity,
    extras: tuple[Path, dict[str, np.ndarray]],
) -> BundleContent:
    return BundleContent(
        name="tiny-knee",
        summary="A tiny student of the audio-visual detector, trained on generated clips.",
        artefact=exported,
        signature=signature,
        preprocessing=preprocessing,
        objectives={
            "accuracy": Objective(value=0.913, low=0.88, high=0.94),
            "latency_ms": Objective(value=1.25, unit="ms", direction="lower"),
        },
        parity=parity,
        sample=extras[1],
        limits=("Trained on generated faces and voices, not on recordings.",),
        details={"study": "demo", "genome": {"width": 32, "heads": 2}},
        extra={"pictures/overlay.png": extras[0]},
    )


@pytest.fixture
def bundle(content: BundleContent, tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", content)
