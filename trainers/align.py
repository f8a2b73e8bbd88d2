"""Explanation alignment: a student that has learnt the verdicts is taught to reach them from the teacher's evidence.

On the path that Integrated Gradients walks, gradient × (x - b) of the two logits is compared: the loss is γ·(1 - cosine) of the
two maps, each input by itself, beside the distillation loss. Taught from scratch this fails, so it fine-tunes a student that is
distilled (and pruned) already; batch norms stand still meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.modes import standing_still
from paretolens.trainers.loop import Batch
from paretolens.trainers.paths import PathMaps, path_evidence

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["AlignSettings", "PathAlignment", "path_alignment_loss"]


@dataclass(frozen=True, kw_only=True)
class AlignSettings:
    """How strongly and how often explanations are aligned."""

    gamma: Annotated[float, Gt(0)] = 2.0
    """γ, weight of the loss."""
    every: Annotated[int, Ge(1)] = 1
    """Apply it in every so many steps: one that does takes about four times as long as one that does not."""


class PathAlignment:
    """An objective: the weighted loss () of a batch, over the clips that the teacher calls fake; 0 in the steps between.

    Args:
        paths: the teacher's evidence for `train`.
        train: clips to learn from.
        settings: weight and rhythm.

    Raises:
        ConfigurationError: the evidence is that of other clips.
    """

    def __init__(self, paths: PathMaps, train: "SampleSet", settings: AlignSettings) -> None:
        if len(paths) != len(train):
            raise ConfigurationError(
                f"the teacher's evidence must cover the {len(train)} training clips; it covers {len(paths)}: cache it again"
            )
        self.paths = paths
        self.train = train
        self.settings = settings

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of some clips, each at one of the places where the teacher was asked.

        Raises:
            TrialError: the student has an operator that torch can't differentiate twice.
        """
        device = next(model.parameters()).device
        draw = torch.randint(self.paths.places.shape[1], (len(batch.rows),), generator=batch.generator)
        asked = torch.from_numpy(self.paths.fake[batch.rows.numpy()])
        rows, place = batch.rows[asked].numpy(), draw[asked].numpy()
        if batch.step % self.settings.every or not len(rows):
            return torch.zeros((), device=device)
        inputs = tuple(x.to(device) for x in self.train.batch(rows))
        alpha = torch.from_numpy(self.paths.places[rows, place]).to(device)
        theirs = [torch.from_numpy(np.asarray(maps[rows, place])).to(device) for maps in self.paths.maps]
        chosen = None if self.paths.classes is None else torch.from_numpy(self.paths.classes[rows]).to(device)
        with standing_still(model):
            ours = path_evidence(
                model, inputs, self.paths.baseline, alpha, self.train.signature, classes=chosen, differentiable=True
            )
        return self.settings.gamma * path_alignment_loss(ours, theirs)


def path_alignment_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Mean over samples and inputs of 1 - cosine of two maps (B, cells); a map of the teacher that is 0 does not count.

    Returns:
        () in 0..2; 0 where nothing counts.
    """
    losses = []
    for ours, theirs in zip(student, teacher, strict=True):
        counted = theirs.abs().amax(dim=1) > 0
        losses.append((1 - F.cosine_similarity(ours, theirs, dim=1))[counted])
    each = torch.cat(losses)
    return each.sum() / max(1, len(each))
