"""Confidence intervals over samples, resampled by source clip: fakes made from one clip are not independent.

Percentile bootstrap (Efron and Tibshirani 1993, chapter 13) with the cluster as the unit. NumPy only, so that fronts are read
without torch.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from paretolens.errors import ConfigurationError

__all__ = ["Interval", "PairedDifference", "clustered_interval", "nanmean_interval", "paired_difference"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and the interval around it."""

    mean: float
    """Mean over the samples."""
    low: float
    """Lower end; NaN where there is no interval, for fewer than two source clips."""
    high: float
    """Upper end, or NaN."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """EPS of candidate a minus EPS of candidate b on the same samples."""

    difference: Interval
    """Mean difference and its interval."""
    samples: int
    """Samples that both candidates were scored on."""

    @property
    def tied(self) -> bool:
        """Whether the interval holds 0, or there is none: the two candidates cannot be told apart."""
        return not (self.difference.low > 0.0 or self.difference.high < 0.0)


def clustered_interval(values: Floats, groups: NDArray[np.generic], *, resamples: int, confidence: float, seed: int) -> Interval:
    """Mean of `values` (N,) and its percentile interval, whole groups (N,) drawn with replacement.

    A draw of groups is a row of multinomial counts, so that all resamples are two matrix products.
    A single group gives no interval (NaN at both ends): it says nothing about other groups.
    """
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    if count < 2:
        return Interval(mean=float(values.mean()), low=float("nan"), high=float("nan"))
    total = np.bincount(group, weights=values, minlength=count)
    size = np.bincount(group, minlength=count).astype(np.float64)
    draws = _draws(count, resamples, seed)
    means = (draws @ total) / (draws @ size)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return Interval(mean=float(values.mean()), low=float(low), high=float(high))


@lru_cache(maxsize=8)
def _draws(groups: int, resamples: int, seed: int) -> Floats:
    """(resamples, groups) how often each group is drawn; the same for every pair of a front, as a paired comparison wants it."""
    draws = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1.0 / groups), size=resamples)
    return draws.astype(np.float64)


def nanmean_interval(values: Floats, groups: NDArray[np.generic], *, resamples: int, confidence: float, seed: int) -> Interval:
    """`clustered_interval` over the values that are not NaN; all NaN gives NaN."""
    known = ~np.isnan(values)
    if not known.any():
        return Interval(mean=float("nan"), low=float("nan"), high=float("nan"))
    return clustered_interval(values[known], groups[known], resamples=resamples, confidence=confidence, seed=seed)


def paired_difference(
    a: Floats, b: Floats, groups: NDArray[np.generic], *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> PairedDifference:
    """Compare two candidates sample by sample; several times tighter than comparing their intervals.

    Args:
        a: (N,) per-sample EPS of one candidate, NaN where it has none.
        b: (N,) of the other, on the same samples in the same order.
        groups: (N,) source clip of each sample.
        resamples: number of bootstrap draws.
        confidence: level of the interval.
        seed: of the draws.

    Raises:
        ConfigurationError: the candidates were not scored on the same samples.
    """
    if a.shape != b.shape or a.shape != groups.shape:
        raise ConfigurationError(
            f"a paired comparison needs scores of the same samples, got {len(a)} and {len(b)}: score both on one reference"
        )
    difference = a - b
    known = ~np.isnan(difference)
    if not known.any():
        raise ConfigurationError("a paired comparison needs at least one sample that both candidates were scored on; got none")
    interval = nanmean_interval(difference, groups, resamples=resamples, confidence=confidence, seed=seed)
    return PairedDifference(difference=interval, samples=int(known.sum()))
