"""Distillation patch by patch: a student's patches are brought to the teacher's grid and taught to say what the teacher's say.

Where receptive fields allow it the student's cells are averaged so that each sees the teacher's pixels exactly; elsewhere they
are resampled by area, which is named as approximate wherever the trial is recorded.
"""

from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from paretolens.models.receptive import Field, Pooling, exact_pooling
from paretolens.trainers.losses import resample_map, soft_loss

__all__ = ["PatchAlignment", "PatchLoss", "align_patches", "patch_loss"]


class PatchLoss(StrEnum):
    """How patch logits are compared."""

    SQUARED = "squared"
    """Mean squared error, in units of the variance of the teacher's."""
    DIVERGENCE = "divergence"
    """Mean T²·KL of the two Bernoulli distributions of each patch."""


@dataclass(frozen=True, kw_only=True)
class PatchAlignment:
    """How a student's grid becomes the teacher's."""

    pooling: Pooling | None
    """The exact way; None = by area, approximately."""

    @property
    def name(self) -> str:
        """In words, for records."""
        if self.pooling is None:
            return "by area (approximate: the receptive fields do not fit)"
        return f"exact: mean of {self.pooling.kernel}×{self.pooling.kernel} patches, every {self.pooling.stride}"

    def __call__(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h, w) of each → the student's on the teacher's grid, and the teacher's; what only one of them has is left out."""
        if self.pooling is None:
            rows, columns = teacher.shape[1:]
            share = rows * columns / (student.shape[1] * student.shape[2])
            return resample_map(student, rows, columns) * share, teacher
        pooled = self.pooling(student)
        rows, columns = min(pooled.shape[1], teacher.shape[1]), min(pooled.shape[2], teacher.shape[2])
        return pooled[:, :rows, :columns], teacher[:, :rows, :columns]


def align_patches(student: Field | None, teacher: Field | None) -> PatchAlignment:
    """The way from a student's grid to the teacher's; by area where either does not say what its patches see."""
    return PatchAlignment(pooling=None if student is None or teacher is None else exact_pooling(student, teacher))


def patch_loss(student: Tensor, teacher: Tensor, *, kind: PatchLoss, temperature: float, spread: float) -> Tensor:
    """Mean over samples and patches, ().

    Args:
        student: (B, h, w) logits.
        teacher: (B, h, w) logits, calibrated; no gradient flows into them.
        kind: how they are compared.
        temperature: T > 0, of the divergence.
        spread: variance of the teacher's patch logits, > 0, of the squared error.
    """
    if kind is PatchLoss.DIVERGENCE:
        return soft_loss(student.reshape(-1, 1), teacher.reshape(-1, 1), temperature)  # a logit per patch, no classes
    return (student - teacher.detach()).square().mean() / spread
