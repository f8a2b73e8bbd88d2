"""Dose and response: the more a model's weights are damaged, the lower its EPS against itself must be."""

from copy import deepcopy
from itertools import pairwise

import torch
from torch import nn

from paretolens.evaluators.validation.check import Check, Tick
from paretolens.evaluators.validation.subject import Subject

__all__ = ["check_dose", "noisy", "quantised"]

BITS = (8, 6, 4, 3, 2)
NOISE = (0.02, 0.05, 0.1, 0.2, 0.4)


def quantised(model: nn.Module, bits: int) -> nn.Module:
    """A copy with matrices and kernels rounded to 2^bits − 1 symmetric levels per output channel."""
    copy, most = deepcopy(model), 2 ** (bits - 1) - 1
    with torch.no_grad():
        for weight in copy.parameters():
            if weight.dim() > 1:
                step = weight.abs().flatten(1).amax(1).clamp_min(1e-12).view(-1, *[1] * (weight.dim() - 1)) / most
                weight.copy_((weight / step).round().clamp(-most, most) * step)
    return copy


def noisy(model: nn.Module, share: float, seed: int) -> nn.Module:
    """A copy with Gaussian noise on matrices and kernels, its deviation a share of each one's own."""
    copy, generator = deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copy.parameters():
            if weight.dim() > 1:
                noise = torch.randn(weight.shape, generator=generator).to(weight)
                weight.add_(noise * (share * weight.std()))
    return copy


def check_dose(subject: Subject, tick: Tick, seeds: int = 3) -> Check:
    """int8 > int6 > int4 > int3 > int2, and falling with the noise (mean over seeds)."""
    total, done = len(BITS) + seeds * len(NOISE), 0
    rounding, noise = [], []
    for bits in BITS:
        rounding.append(subject.score_or_nan(quantised(subject.teacher, bits)))
        tick(done := done + 1, total)
    for share in NOISE:
        level = 0.0
        for seed in range(seeds):
            level += subject.score_or_nan(noisy(subject.teacher, share, seed)) / seeds
            tick(done := done + 1, total)
        noise.append(level)
    bits_shown = ", ".join(f"int{bits} {value:.3f}" for bits, value in zip(BITS, rounding, strict=True))
    noise_shown = ", ".join(f"{share:.0%} {value:.3f}" for share, value in zip(NOISE, noise, strict=True))
    figures = {f"int{bits}": value for bits, value in zip(BITS, rounding, strict=True)}
    figures |= {f"noise_{share:g}": value for share, value in zip(NOISE, noise, strict=True)}
    return Check(
        name="dose and response",
        measured=f"{bits_shown}; noise {noise_shown}",
        expected="falling from left to right, both",
        passed=falling(rounding) and falling(noise),
        figures=figures,
    ).unless_undefined("so damaged, the teacher's logit depends on its inputs no more or is not finite")


def falling(values: list[float]) -> bool:
    """Strictly."""
    return all(a > b for a, b in pairwise(values))
