from dataclasses import replace

import pytest
import torch
from torch import nn

from paretolens.models.signature import Detection
from paretolens.trainers.loop import Batch
from paretolens.trainers.losses import hard_loss
from paretolens.trainers.teacher import TeacherSettings, _TeacherObjective, train_teacher

SETTINGS = TeacherSettings(epochs=5, batch_size=16, learning_rate=3e-3)


class Probe(nn.Module):
    """Answers with constants, and notes the masks it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.masks: list[torch.Tensor] = []

    def forward(self, video, audio, video_mask, audio_mask):
        self.masks.append(video_mask)
        count, L, T = len(video), audio.shape[1], video.shape[1]
        attention = torch.full((count, L, T), 1 / T)
        return Detection(self.weight.expand(count, 1), torch.zeros(count, 11), attention)


class FreeAttention(nn.Module):
    """Attention that is a parameter, the same for all clips."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.randn(40, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, video, audio, video_mask, audio_mask):
        attention = self.scores.expand(len(video), -1, -1).masked_fill(video_mask[:, None, :], -1e4).softmax(-1)
        return Detection(torch.zeros(len(video), 1), torch.zeros(len(video), 11), attention)


def batch(epoch: int) -> Batch:
    return Batch(rows=torch.arange(48), epoch=epoch, step=0, generator=torch.Generator().manual_seed(0))


def test_it_learns(model_of, train, val) -> None:
    seen = []
    history = train_teacher(model_of(), train, val, SETTINGS, seed=0, report=seen.append)
    assert history.best["teacher_val_auc"] > 0.85
    assert "teacher_val_auc" in seen[0]


def test_the_curriculum_hides_frames_then_eases_the_offset(train) -> None:
    settings = replace(
        SETTINGS, masked_epochs=2, gentle_epochs=3, modality_dropout=0.0, sync_weight=0.0, offset_weight=0.5, gentle_offset=0.1
    )
    probe, losses = Probe(), []
    for epoch in range(7):
        losses.append(_TeacherObjective(train=train, settings=settings)(probe, batch(epoch)).item())
    hard, offset = float(hard_loss(torch.zeros(2, 1), torch.ones(2, 1))), torch.tensor(11.0).log().item()
    assert losses == pytest.approx([hard + 0.5 * offset] * 2 + [hard + 0.05 * offset] * 3 + [hard + 0.5 * offset] * 2)
    shown = [float((~mask).float().mean()) for mask in probe.masks]
    assert max(shown[:2]) < 0.6 * min(shown[2:])


def test_a_balanced_teacher_lets_both_classes_weigh_alike(train) -> None:
    labels = (torch.arange(len(train)) % 4 > 0).numpy().astype("float32")  # three fakes for each real clip
    settings = replace(SETTINGS, offset_weight=0.0, sync_weight=0.0, balance=True)
    objective = _TeacherObjective(train=replace(train, labels=labels), settings=settings)
    assert objective(Probe(), batch(0)).item() == pytest.approx(0.5 * float(hard_loss(torch.zeros(2, 1), torch.ones(2, 1))))


def test_attention_is_pulled_to_the_diagonal(train) -> None:
    settings = replace(SETTINGS, offset_weight=0.0, modality_dropout=0.0, mirror=False)
    objective = _TeacherObjective(train=train, settings=settings)
    probe = FreeAttention()
    optimiser = torch.optim.Adam(probe.parameters(), lr=0.1)
    for _ in range(60):
        optimiser.zero_grad()
        objective(probe, batch(5)).backward()
        optimiser.step()
    whole = probe.scores.softmax(-1).argmax(-1)
    # the clips are 40 sounds and 4 frames long, or 30 and 3: 10 sounds a frame, centred on column i / 10
    wanted = torch.arange(40) / 10
    assert (whole - wanted)[:25].abs().max() < 1
