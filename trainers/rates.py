"""How the learning rate falls where no end is planned: by a factor every so many epochs, or whenever validation stands still."""

from collections.abc import Sequence
from enum import StrEnum

__all__ = ["RateShape", "plateau_share", "step_share"]

THRESHOLD = 1e-4
"""A loss is better where it is lower by more than this share."""


class RateShape(StrEnum):
    """How the learning rate runs over a stage."""

    COSINE = "cosine"
    """Linear warm-up, then half a cosine."""
    PLATEAU = "plateau"
    """Full until the validation loss stands still, then half as much each time it does."""
    STEP = "step"
    """Full, then a share of it after every so many epochs."""


def plateau_share(losses: Sequence[float], *, patience: int = 1, factor: float = 0.5) -> float:
    """Share of the highest learning rate after epochs with these validation losses.

    It falls by `factor` after more than `patience` epochs in a row without a better one, as torch's `ReduceLROnPlateau` has it;
    computed from the history alone, a resumed run goes on as if it had not been interrupted.
    """
    share, best, waited = 1.0, float("inf"), 0
    for loss in losses:
        waited += 1
        if loss < best * (1 - THRESHOLD):
            best, waited = loss, 0
        elif waited > patience:
            share, waited = share * factor, 0
    return share


def step_share(epoch: int, *, every: int, factor: float) -> float:
    """Share of the highest learning rate in an epoch, from 0: it falls by `factor` every so many, as torch's `StepLR` has it."""
    return factor ** (epoch // every)
