"""What EPS an untrained student gets: the zero of nEPS."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from paretolens.errors import ConfigurationError
from paretolens.evaluators.eps.reference import TeacherReference
from paretolens.evaluators.eps.score import score_eps
from paretolens.evaluators.eps.settings import EpsSettings

__all__ = ["Floor", "floor"]


@dataclass(frozen=True, kw_only=True)
class Floor:
    """EPS of re-initialised students."""

    mean: float
    """What nEPS counts from."""
    values: tuple[float, ...]
    """One per seed."""

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over the seeds."""
        return float(np.std(self.values, ddof=1) / np.sqrt(len(self.values)))


def floor(
    build_student: Callable[[int], nn.Module],
    seeds: Sequence[int],
    reference: TeacherReference,
    settings: EpsSettings | None = None,
) -> Floor:
    """Mean EPS of students built from each seed and never trained.

    Raises:
        ConfigurationError: fewer than 3 different seeds.
    """
    if len(set(seeds)) < 3:
        raise ConfigurationError(f"the floor of EPS needs at least 3 different seeds, got {list(seeds)}; give 3 or more")
    values = tuple(score_eps(build_student(seed), reference, settings).eps for seed in seeds)
    return Floor(mean=float(np.mean(values)), values=values)
