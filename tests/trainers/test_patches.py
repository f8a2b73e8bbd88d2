import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from paretolens.models.receptive import Field
from paretolens.trainers.patches import PatchLoss, align_patches, patch_loss

TEACHER = Field(size=9, stride=8)


def grids(rows: int, columns: int | None = None, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, rows, columns or rows, generator=torch.Generator().manual_seed(seed))


def test_the_exact_way_averages_the_patches_that_see_the_teachers_pixels():
    align = align_patches(Field(size=5, stride=2), TEACHER)
    student, teacher = grids(126), grids(31, seed=1)
    ours, theirs = align(student, teacher)
    assert torch.equal(theirs, teacher)
    assert align.name == "exact: mean of 3×3 patches, every 4"
    torch.testing.assert_close(ours[1, 2, 30], student[1, 8:11, 120:123].mean())


def test_what_only_one_grid_has_is_left_out():
    align = align_patches(Field(size=9, stride=4), TEACHER)
    ours, theirs = align(grids(16), grids(7))
    assert ours.shape == theirs.shape == (2, 7, 7)
    assert torch.equal(ours, grids(16)[:, :13:2, :13:2])


def test_fields_that_do_not_fit_meet_by_area_and_say_so():
    align = align_patches(Field(size=7, stride=4), TEACHER)
    assert align.pooling is None
    assert "approximate" in align.name
    student = grids(12)
    ours, _ = align(student, grids(6))
    torch.testing.assert_close(ours, torch.nn.functional.avg_pool2d(student, 2))
    torch.testing.assert_close(align(student, grids(5))[0].mean((1, 2)), student.mean((1, 2)))
    assert align_patches(None, TEACHER).pooling is None


def test_the_squared_error_is_in_units_of_the_teachers_variance():
    teacher = 50 * grids(6)
    spread = float(teacher.var(correction=0))
    loss = patch_loss(teacher.mean() * torch.ones(2, 6, 6), teacher, kind=PatchLoss.SQUARED, temperature=2, spread=spread)
    assert float(loss) == pytest.approx(1.0, rel=1e-5)
    assert float(patch_loss(teacher, teacher, kind=PatchLoss.SQUARED, temperature=2, spread=spread)) == 0


def test_the_divergence_is_that_of_each_patchs_probability():
    student, teacher = grids(4), grids(4, seed=1)
    found = patch_loss(student, teacher, kind=PatchLoss.DIVERGENCE, temperature=3.0, spread=1.0)
    wanted = kl_divergence(Bernoulli(logits=teacher / 3), Bernoulli(logits=student / 3)).mean() * 9
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", list(PatchLoss))
def test_no_gradient_flows_into_the_teacher(kind):
    student, teacher = grids(4).requires_grad_(), grids(4, seed=1).requires_grad_()
    patch_loss(student, teacher, kind=kind, temperature=2.0, spread=1.0).backward()
    assert teacher.grad is None
    assert student.grad.abs().min() > 0
