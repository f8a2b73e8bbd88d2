import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, kl_divergence

from paretolens.errors import DataError
from paretolens.trainers.losses import (
    alignment_loss,
    area_matrix,
    balancing_weight,
    distillation_loss,
    hard_loss,
    offset_loss,
    resample_map,
    soft_loss,
    sync_loss,
    sync_target,
)


def none(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.bool)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_loss_is_the_divergence_of_bernoullis(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 7, 1, generator=generator) * 5
    wanted = kl_divergence(Bernoulli(logits=teacher / temperature), Bernoulli(logits=student / temperature))
    assert soft_loss(student, teacher, temperature) == pytest.approx(float(wanted.mean()) * temperature**2, rel=1e-4)


def test_soft_loss_has_a_gradient_where_a_softmax_over_one_logit_has_none() -> None:
    student = torch.tensor([[0.0]], requires_grad=True)
    soft_loss(student, torch.tensor([[2.0]]), 2.0).backward()
    assert student.grad is not None
    # d/dz T²·KL = T·(σ(z_s/T) − σ(z_t/T))
    assert student.grad.item() == pytest.approx(2.0 * (0.5 - 1 / (1 + math.exp(-1))), rel=1e-5)


def test_soft_loss_is_finite_for_huge_logits_and_zero_where_they_agree() -> None:
    logits = torch.tensor([[1e4], [-1e4], [0.3]])
    assert soft_loss(logits, logits, 1.0) == 0
    assert torch.isfinite(soft_loss(-logits, logits, 1.0))


def test_hard_loss_by_hand() -> None:
    assert hard_loss(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [0.0]])) == pytest.approx(math.log(2))


def test_fakes_weigh_as_much_as_reals_once_they_are_balanced() -> None:
    targets = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    weight = balancing_weight(targets)
    assert float(weight) == pytest.approx(1 / 3)
    logits = torch.tensor([[0.3], [-2.0], [1.0], [0.5]])
    each = -(targets * torch.sigmoid(logits).log() / 3 + (1 - targets) * torch.sigmoid(-logits).log())
    assert hard_loss(logits, targets, fake_weight=weight) == pytest.approx(float(each.mean()))
    with pytest.raises(DataError, match="0 of 4 training samples are fake"):
        balancing_weight(torch.zeros(4, 1))


def test_offset_loss_counts_known_offsets_only() -> None:
    logits = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
    assert offset_loss(logits, torch.tensor([0, -100])) == pytest.approx(math.log(2))
    assert offset_loss(logits, torch.tensor([-100, -100])) == 0


def test_area_matrix_by_hand() -> None:
    assert torch.allclose(area_matrix(3, 2), torch.tensor([[1, 0.5, 0], [0, 0.5, 1]]))
    assert torch.allclose(area_matrix(7, 5).sum(0), torch.ones(7))


def test_resampling_keeps_the_sum_and_equals_block_sums() -> None:
    attention = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(1))
    small = resample_map(attention, 3, 4)
    assert torch.allclose(small, attention.reshape(2, 3, 2, 4, 2).sum((2, 4)))
    assert torch.allclose(resample_map(attention, 5, 3).sum((1, 2)), attention.sum((1, 2)))


def test_alignment_is_the_mean_divergence_of_rows() -> None:
    generator = torch.Generator().manual_seed(2)
    student, teacher = torch.rand(2, 3, 5, 4, generator=generator).softmax(-1)
    wanted = kl_divergence(Categorical(probs=teacher), Categorical(probs=student)).mean()
    assert alignment_loss(student, teacher, none(3, 5), none(3, 4)) == pytest.approx(float(wanted), rel=1e-4)


def test_alignment_of_different_sizes_by_hand() -> None:
    teacher = torch.tensor([[[0.4, 0.2, 0.3, 0.1]]])
    assert alignment_loss(torch.tensor([[[0.6, 0.4]]]), teacher, none(1, 1), none(1, 4)) == pytest.approx(0, abs=1e-6)
    wanted = 0.6 * math.log(0.6 / 0.5) + 0.4 * math.log(0.4 / 0.5)
    assert alignment_loss(torch.tensor([[[0.5, 0.5]]]), teacher, none(1, 1), none(1, 4)) == pytest.approx(wanted, rel=1e-5)


def test_alignment_ignores_what_is_masked() -> None:
    teacher, student = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]]), torch.tensor([[[0.25, 0.15, 0.6], [0.9, 0.1, 0.0]]])
    rows, columns = torch.tensor([[False, True]]), torch.tensor([[False, False, True]])
    assert alignment_loss(student, teacher, rows, columns) == pytest.approx(0, abs=1e-6)
    assert alignment_loss(student, teacher, none(1, 2), columns) > 0.1
    assert alignment_loss(student, teacher, none(1, 2), ~none(1, 3)) == 0


def test_alignment_gives_finite_gradients_for_rows_without_weight() -> None:
    student = torch.zeros(1, 2, 3, requires_grad=True)
    loss = alignment_loss(student, torch.full((1, 2, 3), 1 / 3), none(1, 2), none(1, 3))
    loss.backward()
    assert loss == 0
    assert student.grad is not None and torch.isfinite(student.grad).all()


def test_distillation_by_hand() -> None:
    terms = distillation_loss(hard=torch.tensor(2.0), soft=torch.tensor(4.0), alignment=torch.tensor(1.0), alpha=0.25, beta=0.3)
    assert terms.total == pytest.approx(0.25 * 2 + 0.75 * 4 + 0.3)


def test_sync_target_follows_the_true_lengths() -> None:
    target = sync_target(torch.tensor([4, 2]), torch.tensor([2, 3]), rows=4, columns=3, sigma=1.0)
    weights = torch.tensor([math.exp(-0.5 * 0.5**2), math.exp(-0.5 * 0.5**2)])
    assert torch.allclose(target[0, 1], torch.tensor([0.5, 0.5, 0.0]))  # row 1 of 4 lies at column .5 of 2
    assert torch.allclose(target[0, 1, :2], weights / weights.sum())
    assert torch.allclose(target[1].sum(-1), torch.tensor([1.0, 1, 0, 0]))  # two true rows
    assert target[1, 1].argmax() in (1, 2)  # at column 1.5


def test_sync_loss_is_least_for_the_diagonal_and_counts_real_clips_only() -> None:
    rows, columns = none(2, 8), none(2, 4)
    lengths = torch.tensor([8, 8]), torch.tensor([4, 4])
    diagonal = sync_target(*lengths, rows=8, columns=4, sigma=0.5)
    settings = {"sigma": 0.5, "half_width": 0.6}
    both, first = torch.tensor([True, True]), torch.tensor([True, False])
    good = sync_loss(diagonal, rows, columns, both, **settings)
    assert (
        good
        < sync_loss(torch.full((2, 8, 4), 0.25), rows, columns, both, **settings)
        < sync_loss(diagonal.flip(2), rows, columns, both, **settings)
    )
    spoilt = torch.cat([diagonal[:1], diagonal[1:].flip(2)])
    assert sync_loss(spoilt, rows, columns, first, **settings) == pytest.approx(float(good), rel=1e-5)
    assert sync_loss(spoilt, rows, columns, ~both, **settings) == 0


def test_sync_loss_by_hand() -> None:
    attention = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    # sigma → 0: the target is the identity. MSE (.25 + .25)/4; band of width 0 holds 1.5 of 2; roughness (.25 + .25)/2 … once
    loss = sync_loss(attention, none(1, 2), none(1, 2), torch.tensor([True]), sigma=0.05, half_width=0.1)
    assert loss == pytest.approx(0.125 + 0.5 * 0.25 + 0.2 * 0.25, rel=1e-5)


def test_sync_loss_does_not_depend_on_padding() -> None:
    generator = torch.Generator().manual_seed(3)
    attention = torch.rand(1, 5, 3, generator=generator).softmax(-1)
    padded = torch.zeros(1, 8, 4)
    padded[:, :5, :3] = attention
    padded[:, 5:, :] = 0.25
    rows, columns = none(1, 8), none(1, 4)
    rows[:, 5:], columns[:, 3:] = True, True
    settings = {"sigma": 0.5, "half_width": 0.6}
    yes = torch.tensor([True])
    wanted = sync_loss(attention, none(1, 5), none(1, 3), yes, **settings)
    assert sync_loss(padded, rows, columns, yes, **settings) == pytest.approx(float(wanted), rel=1e-5)
