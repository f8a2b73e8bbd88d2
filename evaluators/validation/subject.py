"""The models and clips that are checked."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from paretolens.errors import TrialError
from paretolens.evaluators.eps import EpsSettings, ExplainedSet, TeacherReference, score_eps
from paretolens.evaluators.faithfulness import Truth

__all__ = ["Subject", "quick_reference", "some_samples"]

QUICK_NODES = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A teacher, a student and what they are held against. Models are put back as they were."""

    teacher: nn.Module
    """Trained."""
    student: nn.Module
    """Trained."""
    untrained: tuple[nn.Module, ...]
    """Students of the same shape that were never trained, 3 or more."""
    fresh_teacher: Callable[[int], nn.Module]
    """A teacher that was never trained, by seed."""
    reference: TeacherReference
    """The study's own."""
    quick: TeacherReference
    """The same on fewer clips with the plain quadrature, for checks that score many models."""
    truth: Truth
    """True cells of the reference's clips."""

    def score(self, model: nn.Module) -> float:
        """EPS on the quick reference; the teacher itself scores 1."""
        return score_eps(model, self.quick).eps

    def score_or_nan(self, model: nn.Module) -> float:
        """The same; NaN for a model that is broken: all its maps are constant, or its logits or gradients are not finite."""
        try:
            return self.score(model)
        except TrialError:
            return float("nan")


def quick_reference(teacher: nn.Module, reference: TeacherReference, clips: int) -> TeacherReference:
    """The first so many eligible clips, 8 Gauss–Legendre nodes, no probes: the same gradients for every model."""
    settings: EpsSettings = replace(reference.settings, nodes=QUICK_NODES, probes=0, doublings=0, pixels=False)
    rows = reference.eligible.nonzero()[:, 0][:clips]
    return TeacherReference.compute(teacher, some_samples(reference.explained, rows), settings)


def some_samples(explained: ExplainedSet, rows: torch.Tensor) -> ExplainedSet:
    """Some rows of an explained set."""
    index = rows.numpy()
    return replace(
        explained,
        indices=explained.indices[index],
        inputs=tuple(x[rows] for x in explained.inputs),
        labels=np.asarray(explained.labels)[index],
        groups=np.asarray(explained.groups)[index],
        kinds=tuple(explained.kinds[int(row)] for row in index),
        regions=None if explained.regions is None else np.asarray(explained.regions)[index],
    )
