"""Which samples, and which of their modalities, have an explanation worth comparing."""

import torch
from torch import Tensor

from paretolens.evaluators.eps.settings import EpsSettings, Population

__all__ = ["eligible_samples", "gate_modalities", "verdict_sign"]


def verdict_sign(logit: Tensor) -> Tensor:
    """The side that the teacher chose, (B,): +1 fake, -1 real; a logit of exactly 0 counts as real."""
    return torch.where(logit > 0, 1.0, -1.0)


def eligible_samples(logit: Tensor, change: Tensor, settings: EpsSettings, fake: Tensor | None = None) -> Tensor:
    """(B,) bool: in the population, and |ΔF| at least `change_share` of the population's median and not 0.

    Real clips leave the baseline's logit hardly at all; their maps are noise.

    Args:
        logit: (B,) of the teacher.
        change: (B,) ΔF.
        settings: population and share.
        fake: (B,) bool, what the teacher calls anything but real; None = where the logit is above 0.
    """
    called = logit > 0 if fake is None else fake
    inside = called if settings.population is Population.PREDICTED_FAKE else torch.ones_like(logit, dtype=torch.bool)
    if not bool(inside.any()):
        return inside
    size = change.abs()
    middle = torch.quantile(size[inside].to(torch.float64), 0.5)
    return inside & (size > 0) & (size >= settings.change_share * middle)


def gate_modalities(sums: Tensor, change: Tensor, gate: float) -> tuple[Tensor, Tensor]:
    """Shares |Σ IG_m| / |ΔF| (B, M), and which modalities count (B, M) bool.

    Args:
        sums: (B, M), Σ of the teacher's attributions to each modality; NaN where they do not stand for ΔF: that modality counts.
        change: (B,), ΔF of the teacher; share 0 where it is 0.
        gate: least share that counts.
    """
    size = change.abs()[:, None]
    share = torch.where(size > 0, sums.abs() / size.clamp_min(torch.finfo(size.dtype).tiny), 0.0)
    return share, (share >= gate) | share.isnan()
