from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.models.signature import Detection
from paretolens.trainers.cache import TeacherOutputs, cache_teacher
from paretolens.trainers.distill import DistillSettings, distill
from paretolens.trainers.validation import predict_logits
from paretolens.trainers.views import View

SETTINGS = DistillSettings(epochs=5, batch_size=16, learning_rate=3e-3)


@pytest.fixture(scope="module")
def taught(train, val, tmp_path_factory):
    """A trained teacher and its outputs."""
    return _taught(train, val, tmp_path_factory.mktemp("teacher"))


def _taught(train, val, folder):
    from paretolens.models.registry import build
    from paretolens.trainers.teacher import TeacherSettings, train_teacher

    torch.manual_seed(7)
    T, _, side, _ = train.signature.inputs[0].shape
    model = build(
        "pinpoint",
        backbone_width=0.125,
        width=32,
        depth=1,
        heads=4,
        ffn=2,
        dropout=0.0,
        input_frames=T,
        input_size=side,
        audio_frames=train.signature.inputs[1].shape[0],
        audio_convs=[16, 32],
    )
    settings = TeacherSettings(epochs=5, batch_size=16, learning_rate=3e-3)
    train_teacher(model, train, val, settings, seed=0, report=lambda figures: None)
    return model, cache_teacher(model, train, folder, views=(View.PLAIN, View.MIRRORED))


def quiet(figures) -> None:
    pass


class FreeAttention(nn.Module):
    """A linear verdict on the sound, and an attention that is a parameter, on half of the frames."""

    def __init__(self) -> None:
        super().__init__()
        self.verdict = nn.Linear(13, 1)
        self.scores = nn.Parameter(torch.zeros(40, 2))

    def forward(self, video, audio, video_mask, audio_mask):
        attention = self.scores.softmax(-1).expand(len(video), -1, -1)
        return Detection(self.verdict(audio.mean(1)), torch.zeros(len(video), 11), attention)


def test_the_student_takes_over_the_teachers_map(train, val) -> None:
    attention = np.zeros((1, 48, 40, 4), np.float16)
    attention[:, :, :20, 0], attention[:, :, 20:, 2] = 1, 1  # first half of the sound on the first frames, then on the last
    outputs = TeacherOutputs(
        views=(View.PLAIN,),
        logit=np.zeros((1, 48, 1), np.float32),
        offset=np.zeros((1, 48, 11), np.float32),
        attention=attention,
        patches=np.zeros((1, 48, 0), np.float32),
        fingerprint="",
    )

    def student(beta: float) -> torch.Tensor:
        model = FreeAttention()
        settings = replace(SETTINGS, beta=beta, epochs=8, learning_rate=0.2)
        distill(model, outputs, train, val, settings, seed=0, report=quiet)
        return model.scores.detach().softmax(-1)

    assert torch.equal(student(0.0), torch.full((40, 2), 0.5))
    learnt = student(3.0)
    assert (learnt[:20, 0] > 0.9).all() and (learnt[20:30, 1] > 0.9).all()


def test_a_smaller_student_learns_the_verdicts(taught, model_of, train, val) -> None:
    student, seen = model_of(seed=2, width=16, heads=2, frames=2, frame_size=16), []
    history = distill(student, taught[1], train, val, SETTINGS, seed=0, report=seen.append)
    assert history.best["distill_val_auc"] > 0.85
    assert len(seen) == 5


def test_pure_soft_targets_teach_without_labels(taught, model_of, train, val) -> None:
    teacher, outputs = taught
    student = model_of(seed=2)
    settings = replace(SETTINGS, alpha=0.0, beta=0.0, deep=0.0, temperature=4.0, epochs=8)
    distill(student, outputs, train, val, settings, seed=0, report=quiet)
    a, b = predict_logits(student, val)[:, 0], predict_logits(teacher, val)[:, 0]
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.6


def test_mirrored_clips_need_mirrored_outputs(taught, model_of, train, val, tmp_path) -> None:
    teacher, outputs = taught
    distill(model_of(), outputs, train, val, replace(SETTINGS, mirror=True, epochs=1), seed=0, report=quiet)
    plain = cache_teacher(teacher, train, tmp_path)
    with pytest.raises(ConfigurationError, match="mirrored view"):
        distill(model_of(), plain, train, val, replace(SETTINGS, mirror=True), seed=0, report=quiet)


def test_outputs_of_other_clips_are_refused(taught, model_of, train, val) -> None:
    with pytest.raises(ConfigurationError, match="must cover the 24 training clips; they cover 48"):
        distill(model_of(), taught[1], val, val, SETTINGS, seed=0, report=quiet)


def test_alignment_needs_maps(taught, model_of, train, val) -> None:
    student = model_of()
    student.return_maps = False
    with pytest.raises(ConfigurationError, match="maps of teacher and student"):
        distill(student, taught[1], train, val, SETTINGS, seed=0, report=quiet)
