"""How much a cascade's first stage takes off the second, and what it lets slip."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from paretolens.errors import DataError
from paretolens.evaluators.latency import LatencyResult

__all__ = ["CascadeMetrics", "cascade_metrics", "expected_latency"]


@dataclass(frozen=True, kw_only=True)
class CascadeMetrics:
    """Shares of one set, in 0..1."""

    filtration: float
    """Samples that the first stage decides."""
    passed_on: float
    """Samples that go on to the second: 1 − filtration."""
    leakage: float
    """Fakes that the first stage lets go as real, of all fakes; NaN without fakes. Lower is better."""
    false_alarms: float
    """Real samples that the first stage calls fake, of all real ones; NaN without any. Lower is better."""
    first_accuracy: float
    """Right verdicts among those of the first stage; NaN where it decides nothing."""
    second_accuracy: float
    """Right verdicts among those of the second stage; NaN where nothing goes on."""

    def to_metrics(self) -> dict[str, float]:
        """The shares by name, without those that are NaN."""
        named = {f"cascade_{name}": float(getattr(self, name)) for name in self.__dataclass_fields__}
        return {name: value for name, value in named.items() if not np.isnan(value)}


def cascade_metrics(labels: ArrayLike, logits: ArrayLike, stage: ArrayLike) -> CascadeMetrics:
    """Filtration and leakage.

    Args:
        labels: (N,) 1 = fake, 0 = real.
        logits: (N,) of the stage that decides, positive = fake.
        stage: (N,) 1 or 2, which one it was.

    Raises:
        DataError: no samples, or columns of different lengths.
    """
    fake = np.asarray(labels).reshape(-1) > 0.5
    called = np.asarray(logits).reshape(-1) > 0
    first = np.asarray(stage).reshape(-1) < 1.5
    if not 0 < len(fake) == len(called) == len(first):
        raise DataError(
            f"labels, logits and stages must be as many and not none, got {len(fake)}, {len(called)} and {len(first)}"
        )
    right = called == fake
    return CascadeMetrics(
        filtration=float(first.mean()),
        passed_on=float((~first).mean()),
        leakage=_share(first & ~called, fake),
        false_alarms=_share(first & called, ~fake),
        first_accuracy=_share(right, first),
        second_accuracy=_share(right, ~first),
    )


def _share(chosen: np.ndarray, among: np.ndarray) -> float:
    return float(chosen[among].mean()) if among.any() else float("nan")


def expected_latency(first: LatencyResult, second: LatencyResult, passed_on: float) -> LatencyResult:
    """t₁ + P·t₂ for one sample, with P the share that goes on.

    A wall percentile q is the first stage's where at least the share q ends there, else the sum of both stages': an upper bound.
    """

    def percentile(name: str, share: float) -> float:
        early, late = float(getattr(first, name)), float(getattr(second, name))
        return early if passed_on <= 1 - share else early + late

    both = first.cpu_min_ms is not None and second.cpu_min_ms is not None
    return replace(
        first,
        latency_ms=first.latency_ms + passed_on * second.latency_ms,
        p50_ms=percentile("p50_ms", 0.5),
        p90_ms=percentile("p90_ms", 0.9),
        p99_ms=percentile("p99_ms", 0.99),
        cpu_min_ms=first.cpu_min_ms if both else None,
        copy_in_ms=None,  # what is passed on stays where it is
        copy_out_ms=None,
        end_to_end_ms=None,
        precision=first.precision if first.precision == second.precision else f"{first.precision} and {second.precision}",
        note=f"expected: stage 1 {first.latency_ms:.3f} ms, stage 2 {second.latency_ms:.3f} ms for {100 * passed_on:.1f} % "
        "of the validation samples",
    )
