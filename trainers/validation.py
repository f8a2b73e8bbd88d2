"""Validation during training: logits of a split, loss, accuracy and area under the ROC curve. Nothing is kept or written."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from paretolens.errors import DataError
from paretolens.trainers.losses import hard_loss

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["Score", "Validator", "area_under_curve", "predict_logits"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """Figures of one validation."""

    loss: float
    """Mean binary cross-entropy."""
    accuracy: float
    """Share of clips on the right side of logit 0."""
    auc: float
    """Area under the ROC curve, ties count half; higher is better."""


class Validator:
    """Validates models on one split, whose inputs are prepared once.

    Raises:
        DataError: the split lacks one of both classes.
    """

    def __init__(self, samples: "SampleSet", *, batch_size: int = 32) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.targets = samples.targets(slice(0, len(samples)))
        if self.targets.min() == self.targets.max():
            raise DataError("a validation split must hold real and fake clips; got one class only: enlarge the split")

    def __call__(self, model: nn.Module) -> Score:
        """Figures of the model in eval mode; NaN where its logits are."""
        logits = predict_logits(model, self.samples, batch_size=self.batch_size)
        return Score(
            loss=hard_loss(logits, self.targets).item(),
            accuracy=((logits > 0) == (self.targets > 0.5)).float().mean().item(),
            auc=area_under_curve(self.targets[:, 0], logits[:, 0]),
        )


def predict_logits(model: nn.Module, samples: "SampleSet", *, batch_size: int = 32) -> Tensor:
    """Logits (N, 1) of all clips on the CPU. The model is left in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [
            model(*(x.to(device) for x in samples.batch(slice(start, start + batch_size)))).logit.cpu()
            for start in range(0, len(samples), batch_size)
        ]
    return torch.cat(parts)


def area_under_curve(labels: Tensor, scores: Tensor) -> float:
    """Mann–Whitney estimate of P(score of a fake > score of a real) + ½·P(equal).

    Args:
        labels: (N,) 0/1, both present.
        scores: (N,), higher = fake.
    """
    values, inverse, counts = torch.unique(scores.double(), return_inverse=True, return_counts=True)
    del values
    ends = counts.cumsum(0).double()
    ranks = (ends - (counts - 1) / 2)[inverse]  # mean rank of each group of ties, from 1
    fake = labels > 0.5
    positives, negatives = int(fake.sum()), int((~fake).sum())
    return float((ranks[fake].sum() - positives * (positives + 1) / 2) / (positives * negatives))
