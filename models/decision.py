"""What raw scores mean, in one place: the verdict, the probabilities, and the logit of one class.

Scores are (N,) or (N, 1), one logit, positive = fake; or (N, K), one score for each of K ≥ 2 classes, whose softmax are the
probabilities. The logit of class c is log p_c/(1 - p_c) = z_c - log Σ_{j≠c} exp z_j. With two classes it is z_c less the other
score: what one logit is for "fake", and with its sign turned for "real". So scores of either kind are explained, compared and
ranked by the same number.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = ["class_logits", "flat", "logit_of_class", "probabilities", "verdicts"]

Floats = NDArray[np.float64]


def flat(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """One logit (N, 1) as (N,); scores of classes (N, K) as they are."""
    return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores


def verdicts(scores: ArrayLike) -> NDArray[np.int64]:
    """(N,) index of the class that is chosen: with one logit 1 = fake above 0, else 0; with classes that of the largest score."""
    found = flat(np.asarray(scores))
    chosen: NDArray[np.int64] = (found > 0).astype(np.int64) if found.ndim == 1 else found.argmax(axis=1).astype(np.int64)
    return chosen


def probabilities(scores: ArrayLike) -> Floats:
    """Softmax (N, K) of the scores of classes (N, K)."""
    found = np.asarray(scores, dtype=np.float64)
    raised: Floats = np.exp(found - found.max(axis=1, keepdims=True))
    share: Floats = raised / raised.sum(axis=1, keepdims=True)
    return share


def class_logits(scores: ArrayLike) -> Floats:
    """(N, K) logit of every class, log p/(1 - p), from the scores of classes (N, K); finite where they are."""
    found = np.asarray(scores, dtype=np.float64)
    others = [np.logaddexp.reduce(np.delete(found, index, axis=1), axis=1) for index in range(found.shape[1])]
    logits: Floats = found - np.stack(others, axis=1)
    return logits


def logit_of_class(scores: Tensor, classes: Tensor) -> Tensor:
    """(N,) logit of one class for each row, differentiable.

    Args:
        scores: (N, K), K ≥ 2.
        classes: (N,) int64.
    """
    place = classes[:, None]
    return scores.gather(1, place)[:, 0] - scores.scatter(1, place, -torch.inf).logsumexp(dim=1)
