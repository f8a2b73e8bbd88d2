"""What a trained cascade still needs: trees over the second stage's features, and a temperature for each stage."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from paretolens.models.aware import Cascade, Expert
from paretolens.trainers.boosting import grow_trees
from paretolens.trainers.calibrate import fitted_temperature

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["Settled", "settle_cascade"]

BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What was fitted."""

    temperatures: tuple[float, float]
    """Of stage 1 and of stage 2; above 1 = it was surer than it was right."""
    trees: int
    """How many were grown; 0 = the linear layer decides."""
    tree_agreement: float
    """Share of validation samples on which the trees and the linear layer, which is explained, give the same verdict."""


def settle_cascade(model: Cascade, train: "SampleSet", val: "SampleSet", *, seed: int) -> Settled:
    """Grow the trees on the training split, then fit the temperatures on the validation split; in place.

    Args:
        model: trained; it ends in evaluation mode.
        train: samples that the trees learn from.
        val: samples that the temperatures are fitted to.
        seed: of the trees.
    """
    model.eval()
    expert = model.second
    with torch.no_grad():
        model.scales.fill_(1.0)
    soft = _of(expert, val, soft=True)
    if expert.trees is not None:
        grow_trees(expert.trees, _features(expert, train), train.labels, seed=seed)
        expert.grown = True
    with torch.inference_mode():
        early = np.concatenate([model.first(*batch).logit.numpy()[:, 0] for batch in _batches(val)])
    late = _of(expert, val, soft=False)
    temperatures = fitted_temperature(val.labels, early), fitted_temperature(val.labels, late)
    with torch.no_grad():
        model.scales.copy_(1.0 / torch.tensor(temperatures))
    return Settled(
        temperatures=temperatures,
        trees=0 if expert.trees is None else expert.trees.count,
        tree_agreement=float(np.mean((soft > 0) == (late > 0))),
    )


def _batches(samples: "SampleSet") -> "list[tuple[torch.Tensor, ...]]":
    return [samples.batch(slice(start, start + BATCH)) for start in range(0, len(samples), BATCH)]


def _features(expert: Expert, samples: "SampleSet") -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [expert.features(*batch).numpy() for batch in _batches(samples)]
    return np.concatenate(parts)


def _of(expert: Expert, samples: "SampleSet", *, soft: bool) -> NDArray[np.float32]:
    judge = expert.soft if soft else expert
    with torch.inference_mode():
        parts = [judge(*batch).logit.numpy()[:, 0] for batch in _batches(samples)]
    return np.concatenate(parts)
