"""Teachers, students and what they are explained on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

import paretolens.models.pinpoint  # noqa: F401  # registers the builder
from paretolens.evaluators.eps import ExplainedSet
from paretolens.evaluators.eps.population import eligible_samples
from paretolens.evaluators.explain import end_logits, held_still
from paretolens.evaluators.validation.subject import some_samples
from paretolens.models.registry import build
from paretolens.models.signature import InputKind, InputSpec, Signature
from paretolens.search.config import load_config
from paretolens.search.finish import choose, pull_front, trial_folder
from paretolens.search.pair import explained_clips, load_twin
from paretolens.search.samples import prepared
from paretolens.search.study import load_study
from paretolens.search.task import trained_teacher
from paretolens.search.workspace import Workspace

MEMBERS = ("most-faithful", "knee", "fastest")
"""Members of a front that are scored."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A teacher, students, and what they are explained on."""

    name: str
    teacher: nn.Module
    students: Mapping[str, nn.Module]
    explained: ExplainedSet
    trained: bool


class ImageDetector(nn.Module):
    """A plain convolutional detector of single pictures."""

    def __init__(self, seed: int, width: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        sizes = (3, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.verdict = nn.Linear(sizes[-1], 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logit (B, 1)."""
        found: Tensor = self.verdict(self.features(image).mean((2, 3)))
        return found


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Smooth noise (N, 3, 96, 96) and labels (N, 1); the fakes carry a checkered patch of 16 px somewhere."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 12, 12, generator=generator)
    images = nn.functional.interpolate(coarse, size=(96, 96), mode="bilinear") + 0.3 * torch.randn(
        count, 3, 96, 96, generator=generator
    )
    labels = (torch.arange(count) % 2).float()[:, None]
    checks = ((torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1.0) * 0.5
    for row in (labels[:, 0] > 0).nonzero()[:, 0]:
        top, left = torch.randint(0, 80, (2,), generator=generator).tolist()
        images[row, :, top : top + 16, left : left + 16] += checks
    return images, labels


def trained(model: nn.Module, seed: int, steps: int) -> nn.Module:
    """The model after some steps on fresh pictures."""
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    model.train()
    for step in range(steps):
        images, labels = pictures(32, 1000 * seed + step)
        loss = nn.functional.binary_cross_entropy_with_logits(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def image_case(samples: int, steps: int = 120) -> Case:
    """96 px pictures, networks of two widths; all explained pictures are fakes."""
    signature = Signature(inputs=(InputSpec(name="image", shape=(3, 96, 96), kind=InputKind.IMAGE),), outputs=("logit",))
    images, _ = pictures(2 * samples, 7)
    explained = ExplainedSet.of_tensors(signature, (images[1::2].contiguous(),), (torch.zeros(1, 3, 96, 96),))
    teacher, student = trained(ImageDetector(0, 32), 1, steps), trained(ImageDetector(1, 16), 2, steps)
    return Case(name="image", teacher=teacher, students={"half as wide": student}, explained=explained, trained=True)


def pinpoint_case(samples: int) -> Case:
    """The default task's shapes: 8 frames of 64 px, 80 × 13 coefficients, a quarter of the clips padded."""
    signature = Signature(
        inputs=(
            InputSpec(name="video", shape=(8, 3, 64, 64), kind=InputKind.VIDEO, mask="video_mask"),
            InputSpec(name="audio", shape=(80, 13), kind=InputKind.AUDIO, mask="audio_mask"),
            InputSpec(name="video_mask", shape=(8,), kind=InputKind.MASK),
            InputSpec(name="audio_mask", shape=(80,), kind=InputKind.MASK),
        ),
        outputs=("logit", "offset", "attention"),
    )
    torch.manual_seed(1)
    video_mask, audio_mask = torch.zeros(samples, 8, dtype=torch.bool), torch.zeros(samples, 80, dtype=torch.bool)
    video_mask[::4, 6:], audio_mask[::4, 60:] = True, True
    inputs = (torch.randn(samples, 8, 3, 64, 64), torch.randn(samples, 80, 13), video_mask, audio_mask)
    explained = ExplainedSet.of_tensors(signature, inputs, (torch.zeros(1, 8, 3, 64, 64), torch.zeros(1, 80, 13), None, None))
    common = {"input_frames": 8, "input_size": 64, "audio_frames": 80}
    teacher = build("pinpoint", backbone="resnet18", backbone_width=0.5, width=128, depth=3, heads=8, **common)
    student = build("pinpoint", backbone="mobilenet_v3_small", backbone_width=0.5, width=64, depth=2, heads=4, **common)
    students = {"mobilenet_v3_small, untrained": student.eval()}
    return Case(name="audio-visual", teacher=teacher.eval(), students=students, explained=explained, trained=False)


def named_case(teacher: Path, students: Mapping[str, Path], data: Path, samples: int) -> Case:
    """Trained models on clips of their test split, of those that a search would score: predicted fakes that moved the logit."""
    settings = load_config(flags={}).eps
    model, explained = (
        load_twin(teacher, "teacher"),
        explained_clips(data, replace(settings, samples=2 * samples), split="test", like=None),
    )
    with held_still(model):
        logit, start = end_logits(model, explained.inputs, explained.baseline, settings.chunk)
    rows = eligible_samples(logit, logit - start, settings).nonzero()[:samples, 0]
    return Case(
        name="audio-visual",
        teacher=model,
        students={name: load_twin(folder, "student") for name, folder in students.items()},
        explained=some_samples(explained, rows),
        trained=True,
    )


def study_case(workspace: Workspace, samples: int) -> Case:
    """Teacher and members of the last study."""
    study = load_study(workspace, None)
    found = pull_front(study)
    folders: dict[Path, str] = {}
    for which in MEMBERS:
        row = choose(found, which)[0]
        folders.setdefault(trial_folder(study, row), f"{row['trial']}, {which}")  # one member may be two of these
    splits = prepared(study.config, workspace)
    teacher = trained_teacher(study.config, workspace, splits, lambda *_: None)
    data = splits["test"].folder
    assert data is not None, "a prepared set lies in a folder"
    return named_case(teacher, {name: folder for folder, name in folders.items()}, data, samples)
