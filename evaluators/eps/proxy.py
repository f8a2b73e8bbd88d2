"""EPS on a few clips with few nodes: cheap enough to be taken after every epoch of training, for schedulers that stop early.

The same definition on a coarser quadrature and a fixed handful of clips. Its level is not EPS (fewer nodes, no doublings, other
clips); how well it ranks students is measured by `benchmarks/eps_proxy.py`.
"""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from paretolens.evaluators.eps.compare import agreement
from paretolens.evaluators.eps.deciders import deciders
from paretolens.evaluators.eps.explained import stratified_choice
from paretolens.evaluators.eps.reference import TeacherReference, device_of, explain_block
from paretolens.evaluators.eps.settings import EpsSettings

__all__ = ["ProxySettings", "clip_scores", "proxy_eps", "proxy_rows"]


@dataclass(frozen=True, kw_only=True)
class ProxySettings:
    """How EPS is estimated while a student is trained; reported after each epoch as `progress_eps`."""

    clips: Annotated[int, Ge(0), Le(1024)] = 8
    """Explained clips that are looked at, of the eligible ones; 0 = off."""
    nodes: Annotated[int, Ge(1), Le(64)] = 2
    """Gauss–Legendre nodes per clip; no probes, no doublings. With 8 clips, 2 nodes take a few per cent of an epoch."""


def proxy_rows(reference: TeacherReference, clips: int) -> Tensor:
    """(n,) int64, n ≤ clips rows of the explained set: eligible ones, evenly over the kinds of manipulation, always the same."""
    eligible = np.flatnonzero(reference.eligible.numpy())
    kinds = [reference.explained.kinds[int(row)] for row in eligible]
    return torch.from_numpy(eligible[stratified_choice(kinds, clips, reference.settings.seed)])


def proxy_eps(student: nn.Module, reference: TeacherReference, rows: Tensor, *, nodes: int) -> float:
    """Mean of w1·ρ + w2·J over some clips and the modalities that count on them.

    Args:
        student: any mode; its modes and gradients are put back as they were.
        reference: the teacher's side.
        rows: (n,) of the explained set, as `proxy_rows` chooses them.
        nodes: gradients per clip.

    Returns:
        A number in −.5…1 at equal weights; a constant map of the student counts as 0; NaN where nothing can be compared.

    Raises:
        ConfigurationError, BackendError: the student cannot be explained.
        TrialError: its logits or gradients are not finite.
    """
    settings = replace(reference.settings, nodes=nodes, probes=0, doublings=0, pixels=False)
    return float(clip_scores(student, reference, rows, settings, reference.side[rows]).nanmean(dim=1).nanmean())


def clip_scores(student: nn.Module, reference: TeacherReference, rows: Tensor, settings: EpsSettings, sign: Tensor) -> Tensor:
    """w1·ρ + w2·J of some clips, (n, M) float64 in the order of the reference's modalities; NaN where one does not count.

    Args:
        student: put back as it was.
        reference: the teacher's side.
        rows: (n,) of the explained set, explained at once.
        settings: what they are explained with; pixel maps are left out.
        sign: (n,) the side whose evidence is taken, +1 fake.
    """
    scores = torch.full((len(rows), len(reference.modalities)), torch.nan, dtype=torch.float64)
    for model, part in deciders(student, reference.explained, rows, settings.chunk, reference.classes):
        places = torch.isin(rows, part).nonzero()[:, 0]
        scores[places] = _scores_of(model, reference, rows[places], settings, sign[places].to(device_of(student)))
    return scores


def _scores_of(model: nn.Module, reference: TeacherReference, rows: Tensor, settings: EpsSettings, side: Tensor) -> Tensor:
    """The same of one model that decides all of them."""
    explainer = settings.make_explainer()
    block = explain_block(model, reference.explained, rows, settings=settings, explainer=explainer, sign=side)
    scores = []
    for column, name in enumerate(reference.modalities):
        mine = block.grids[name]
        found = agreement(reference.grids[name].rows(rows, mine.values.device), mine)
        score = settings.rank_weight * found.rho + (1.0 - settings.rank_weight) * found.iou
        scores.append(score.cpu().masked_fill(~reference.counting[rows, column], torch.nan))
    return torch.stack(scores, dim=1).to(torch.float64)
