"""Validation during training: logits of a split, loss, accuracy and area under the ROC curve. Nothing is kept or written.

With classes the area is the mean over the classes of each against all others, by its logit.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from paretolens.errors import DataError
from paretolens.models.decision import class_logits, verdicts
from paretolens.trainers.losses import hard_loss

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["Score", "Validator", "area_under_curve", "predict_logits"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """Figures of one validation."""

    loss: float
    """Mean cross-entropy."""
    accuracy: float
    """Share of right verdicts."""
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
            raise DataError(
                "a validation split must hold real and fake clips, or several classes; got one class only: enlarge it"
            )

    def __call__(self, model: nn.Module) -> Score:
        """Figures of the model in eval mode; NaN where its logits are."""
        logits = predict_logits(model, self.samples, batch_size=self.batch_size)
        return Score(
            loss=hard_loss(logits, self.targets).item(),
            accuracy=(torch.from_numpy(verdicts(logits.numpy())) == self.targets[:, 0]).float().mean().item(),
            auc=mean_area(self.targets[:, 0], logits),
        )


def predict_logits(model: nn.Module, samples: "SampleSet", *, batch_size: int = 32) -> Tensor:
    """Logits (N, 1), or scores of classes (N, K), of all clips on the CPU. The model is left in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [
            model(*(x.to(device) for x in samples.batch(slice(start, start + batch_size)))).logit.cpu()
            for start in range(0, len(samples), batch_size)
        ]
    return torch.cat(parts)


def mean_area(labels: Tensor, scores: Tensor) -> float:
    """`area_under_curve` of logits (N, 1); of scores (N, K) its mean over the classes that some, not all, samples have."""
    if scores.shape[1] == 1:
        return area_under_curve(labels, scores[:, 0])
    logits = torch.from_numpy(class_logits(scores.numpy()))
    own = [labels == index for index in range(scores.shape[1])]
    each = [area_under_curve(one.float(), logits[:, index]) for index, one in enumerate(own) if bool(one.any()) and not one.all()]
    return sum(each) / len(each)


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
