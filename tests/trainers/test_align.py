import pytest
import torch
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.models.signature import Detection
from paretolens.trainers.align import AlignSettings, PathAlignment, path_alignment_loss
from paretolens.trainers.cache import cache_teacher
from paretolens.trainers.distill import DistillSettings, distill
from paretolens.trainers.loop import Batch, Monitor
from paretolens.trainers.paths import cache_paths

SETTINGS = DistillSettings(epochs=12, batch_size=16, learning_rate=0.1, beta=0.0, alpha=0.0, monitor=Monitor.LAST)


class Listener(nn.Module):
    """A verdict on some coefficients of the sound; every clip has the same logit whichever of two equal ones is heard."""

    def __init__(self, weights: dict[int, float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(13))
        self.norm = nn.BatchNorm1d(13)
        with torch.no_grad():
            for place, weight in weights.items():
                self.weight[place] = weight

    def forward(self, video, audio, video_mask, audio_mask):
        heard = self.norm(audio.mean(1)) @ self.weight + 0.0 * video.mean(dim=(1, 2, 3, 4))
        return Detection(heard[:, None], heard.new_zeros(len(heard), 11), heard.new_zeros(len(heard), 0, 0))


def doubled(samples_of, count: int, seed: int):
    """Coefficients 2 and 5 carry the same mark."""
    samples = samples_of(count, seed)
    samples.arrays["audio"][:, :, 5] = samples.arrays["audio"][:, :, 2]
    return samples


def zero_baseline(samples):
    return [None if x.dtype == torch.bool else torch.zeros_like(x[:1]) for x in samples.batch(slice(0, 1))]


def test_loss_of_hand_worked_maps() -> None:
    ours = [torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 2.0], [3.0, 0.0]])]
    theirs = [torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[5.0, 0.0], [-1.0, 0.0]])]
    # cosines 1, (not counted), 0 and -1: mean of 0, 1 and 2
    assert path_alignment_loss(ours, theirs).item() == pytest.approx(1.0)
    assert path_alignment_loss(ours, [torch.zeros(2, 2)] * 2).item() == 0.0


def test_of_two_equal_marks_the_student_learns_to_use_the_teachers(samples_of, tmp_path) -> None:
    """The verdicts alone can't tell the two apart; the evidence can. Norms keep their statistics meanwhile."""
    train, val = doubled(samples_of, 48, 0), doubled(samples_of, 24, 1)
    teacher = Listener({2: 1.0}).eval()
    outputs = cache_teacher(teacher, train, tmp_path)
    paths = cache_paths(teacher, train, zero_baseline(train), tmp_path, seed=0)

    def heard(aligned: bool) -> tuple[float, nn.Module]:
        student = Listener({5: 1.0})
        beside = PathAlignment(paths, train, AlignSettings(gamma=5.0, every=1)) if aligned else None
        distill(student, outputs, train, val, SETTINGS, seed=0, report=lambda _: None, stage="align", beside=beside)
        share = student.weight[2].abs() / student.weight.abs().sum()
        return share.item(), student

    plain, _ = heard(aligned=False)
    aligned, student = heard(aligned=True)
    assert plain < 0.2
    assert aligned > 0.5
    assert not student.norm.running_mean.any()  # the batch norm stood still
    assert student.norm.weight.requires_grad


def test_only_every_kth_step_counts_and_draws_go_on(train, model_of, tmp_path) -> None:
    teacher = model_of().eval()
    paths = cache_paths(teacher, train, zero_baseline(train), tmp_path, seed=0)
    student, rows = model_of(seed=3), torch.arange(len(train))

    def losses(every: int) -> list[float]:
        objective = PathAlignment(paths, train, AlignSettings(gamma=1.0, every=every))
        generator = torch.Generator().manual_seed(0)
        return [objective(student, Batch(rows=rows, epoch=0, step=step, generator=generator)).item() for step in range(5)]

    whole, third = losses(1), losses(3)
    assert all(whole)
    assert third == [whole[0], 0.0, 0.0, whole[3], 0.0]


def test_evidence_for_other_clips_is_refused(train, val, model_of, tmp_path) -> None:
    paths = cache_paths(model_of(), val, zero_baseline(val), tmp_path, seed=0)
    with pytest.raises(ConfigurationError, match="48 training clips; it covers 24"):
        PathAlignment(paths, train, AlignSettings())


def test_a_student_is_aligned_where_it_is(samples_of, model_of, tmp_path, gpu) -> None:
    train, student = samples_of(12, 0), model_of(1)
    paths = cache_paths(model_of().eval(), train, zero_baseline(train), tmp_path, seed=0)
    objective = PathAlignment(paths, train, AlignSettings(gamma=1.0, every=1))

    def learnt(rows: torch.Tensor) -> tuple[float, torch.Tensor]:
        student.zero_grad()
        loss = objective(student, Batch(rows=rows, epoch=0, step=0, generator=torch.Generator().manual_seed(0)))
        loss.backward()
        return loss.item(), next(student.parameters()).grad.as_subclass(torch.Tensor).clone()

    rows = torch.arange(4)
    loss, gradient = learnt(rows)
    with gpu.pretended_gpu():
        student.to(gpu.CUDA)
        there, same = learnt(rows)
    assert there == pytest.approx(loss, rel=1e-4)
    assert torch.allclose(same, gradient, rtol=1e-3, atol=1e-6)
