"""What a trained cascade still needs: trees over the second stage's features, a temperature for each stage, thresholds."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from numpy.typing import NDArray
from torch import nn

from paretolens.models.aware import Cascade, Expert
from paretolens.models.trees import Trees
from paretolens.trainers.boosting import grow_trees
from paretolens.trainers.temperature import fitted_temperature

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["CascadeSettings", "Settled", "settle_cascade"]

BATCH = 32


@dataclass(frozen=True, kw_only=True)
class CascadeSettings:
    """What is chosen after training, so that cascades which differ in nothing else share all of it."""

    trust_fake: Annotated[float, Ge(0), Le(1)] = 0.98
    """P(fake) from which on stage 1 is believed that a picture is fake; 1 = never."""
    trust_real: Annotated[float, Ge(0), Le(1)] = 0.02
    """P(fake) up to which it is believed that it is real; 0 = never."""
    trees: Annotated[int, Ge(0)] = 0
    """Boosted trees that decide in the end; 0 = the linear layer."""
    tree_depth: Annotated[int, Ge(1), Le(8)] = 3
    """Decisions from a tree's root to a leaf."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What was fitted."""

    temperatures: tuple[float, float]
    """Of stage 1 and of stage 2; above 1 = it was surer than it was right."""
    trees: int
    """How many were grown; 0 = the linear layer decides."""
    tree_agreement: float
    """Share of validation samples on which the trees and the linear layer, which is explained, give the same verdict."""


def settle_cascade(model: Cascade, train: "SampleSet", val: "SampleSet", settings: CascadeSettings, *, seed: int) -> Settled:
    """Grow the trees on the training split, fit the temperatures on the validation split, set the thresholds; in place.

    Args:
        model: trained; it ends in evaluation mode.
        train: samples that the trees learn from.
        val: samples that the temperatures are fitted to.
        settings: thresholds and trees.
        seed: of the trees.
    """
    model.eval()
    expert = model.second
    with torch.no_grad():
        model.scales.fill_(1.0)
    soft = _of(expert, val, soft=True)
    expert.trees = nn.Identity()
    if settings.trees:
        trees = Trees(count=settings.trees, depth=settings.tree_depth)
        grow_trees(trees, _features(expert, train), train.labels, seed=seed)
        expert.trees = trees.eval()
    with torch.inference_mode():
        early = np.concatenate([model.first(*batch).logit.numpy()[:, 0] for batch in _batches(val)])
    late = _of(expert, val, soft=False)
    temperatures = fitted_temperature(val.labels, early), fitted_temperature(val.labels, late)
    with torch.no_grad():
        model.scales.copy_(1.0 / torch.tensor(temperatures))
    model.trust(fake=settings.trust_fake, real=settings.trust_real)
    return Settled(
        temperatures=temperatures,
        trees=settings.trees,
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
