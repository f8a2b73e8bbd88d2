"""Checks of the metric itself: identity, scales, ties, the baseline and completeness."""

import numpy as np
import torch
from torch import Tensor, nn

from paretolens.evaluators.eps import TeacherReference, agreement, rank_maps, score_eps, spearman
from paretolens.evaluators.explain import logit_of
from paretolens.evaluators.validation.check import Check
from paretolens.evaluators.validation.subject import Subject

__all__ = ["Rescaled", "check_baseline", "check_completeness", "check_identity", "check_ties"]

SCALE, SHIFT = 5.0, -2.0


class Rescaled(nn.Module):
    """The same model with its logit on another scale; a negative one turns its verdicts round."""

    def __init__(self, model: nn.Module, *, scale: float = SCALE, shift: float = SHIFT) -> None:
        super().__init__()
        self.model, self.scale, self.shift = model, scale, shift

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logit (B,)."""
        return logit_of(self.model(*inputs)) * self.scale + self.shift


def check_baseline(subject: Subject) -> Check:
    """The path must lead from the other verdict to this one, else a map does not say why."""
    reference = subject.reference
    rows = reference.eligible
    side = reference.side[rows].double()
    towards = float((side * reference.change[rows] > 0).double().mean())
    start = float(reference.baseline_logit[rows].mean())
    return Check(
        name="baseline on the other side",
        measured=f"{towards:.0%} of the clips move towards their verdict (logit at the baseline {start:+.2f})",
        expected="at least 95 %",
        passed=towards >= 0.95,
        figures={"towards": towards, "baseline_logit": start},
    )


def check_identity(subject: Subject) -> Check:
    """The teacher scores 1 against itself, also on another scale; maps may be scaled by anything."""
    same = subject.score(subject.teacher)
    rescaled = subject.score(Rescaled(subject.teacher))
    maps = scaled_maps_agree(subject.quick)
    return Check(
        name="identity and scales",
        measured=f"itself {same:.6f}, 5·logit − 2 {rescaled:.6f}, maps × 1000: lowest ρ and J {maps:.6f}",
        expected="1 within 1e-4, 1e-3, 1e-6",
        passed=abs(same - 1.0) <= 1e-4 and abs(rescaled - 1.0) <= 1e-3 and abs(maps - 1.0) <= 1e-6,
        figures={"itself": same, "rescaled": rescaled, "scaled_maps": maps},
    ).unless_undefined("no modality counts on any of the clips")


def scaled_maps_agree(reference: TeacherReference) -> float:
    """Lowest ρ or J between the teacher's maps and a thousand times them."""
    lowest = 1.0
    for maps in reference.grids.values():
        again = rank_maps(maps.values * 1000.0, maps.valid, reference.settings.top_share)
        found = agreement(maps, again)
        known = ~found.both_constant
        if bool(known.any()):
            lowest = min(lowest, float(found.rho[known].min()), float(found.iou[known].min()))
    return lowest


def check_ties(seed: int = 0) -> Check:
    """Maps full of zeros against SciPy, maps that are constant, and sparse maps that have nothing in common."""
    from scipy.stats import spearmanr

    rng = np.random.default_rng(seed)
    a, b = (rng.random((64, 512)) * (rng.random((64, 512)) < 0.1) for _ in range(2))
    ours = spearman(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    worst = float(np.abs(ours - [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]).max())
    ranked = [rank_maps(torch.from_numpy(x), torch.ones(x.shape, dtype=torch.bool), 0.2) for x in (a, b)]
    sparse = agreement(*ranked)
    chance = float((0.5 * sparse.rho + 0.5 * sparse.iou).mean())
    flat = rank_maps(torch.zeros(64, 512), torch.ones(64, 512, dtype=torch.bool), 0.2)
    both, one = agreement(flat, flat), agreement(ranked[0], flat)
    rules = bool(both.both_constant.all() and both.rho.isnan().all() and (one.rho == 0).all() and (one.iou == 0).all())
    return Check(
        name="ties and constant maps",
        measured=f"|ρ − SciPy's| ≤ {worst:.1e}; independent maps, 90 % zeros: {chance:+.3f}; "
        f"constants {'right' if rules else 'wrong'}",
        expected="≤ 1e-9; within ±.06 of 0; both constant: dropped, one: 0",
        passed=worst <= 1e-9 and abs(chance) <= 0.06 and rules,
        figures={"worst": worst, "chance": chance},
    )


def check_completeness(subject: Subject) -> Check:
    """How many clips' attributions add up to ΔF."""
    rows = subject.reference.eligible
    teacher = float((~subject.reference.converged[rows]).double().mean())
    score = score_eps(subject.student, subject.reference)
    student = score.unconverged / max(score.eligible, 1)
    return Check(
        name="completeness",
        measured=f"unconverged: teacher {teacher:.1%}, student {student:.1%} of {score.eligible} clips",
        expected="at most 10 %",
        passed=teacher <= 0.1 and student <= 0.1,
        figures={"teacher": teacher, "student": student, "student_eps": score.eps},
    )
