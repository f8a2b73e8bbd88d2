import numpy as np
import pytest

from paretolens.data.bootstrap import clustered_interval, nanmean_interval, paired_difference
from paretolens.errors import ConfigurationError


def brute_interval(values: np.ndarray, groups: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    names = np.unique(groups)
    means = []
    for _ in range(resamples):
        drawn = rng.choice(names, len(names))
        means.append(np.concatenate([values[groups == name] for name in drawn]).mean())
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def clustered(rng: np.random.Generator, clips: int) -> tuple[np.ndarray, np.ndarray]:
    groups = np.repeat(np.arange(clips), 3)
    return rng.normal(size=clips)[groups] + 0.2 * rng.normal(size=3 * clips), groups


def test_interval_agrees_with_a_loop_over_resamples() -> None:
    values, groups = clustered(np.random.default_rng(0), 30)
    low, high = brute_interval(values, groups, 3000, 1)
    found = clustered_interval(values, groups, resamples=3000, confidence=0.95, seed=2)
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.04)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    hits, plain_hits = 0, 0
    for trial in range(300):
        values, groups = clustered(rng, 40)
        found = clustered_interval(values, groups, resamples=400, confidence=0.95, seed=trial)
        plain = clustered_interval(values, np.arange(len(values)), resamples=400, confidence=0.95, seed=trial)
        hits += found.low <= 0.0 <= found.high
        plain_hits += plain.low <= 0.0 <= plain.high
    assert 0.90 <= hits / 300 <= 0.98
    assert plain_hits / 300 < 0.85  # samples taken for independent: far too sure


def test_uneven_groups_weigh_by_their_samples() -> None:
    values, groups = np.array([1.0, 1.0, 1.0, 0.0]), np.array(["a", "a", "a", "b"])
    found = clustered_interval(values, groups, resamples=500, confidence=0.9, seed=0)
    assert found.mean == 0.75
    assert (found.low, found.high) == (0.0, 1.0)


def test_one_source_clip_gives_no_interval() -> None:
    found = clustered_interval(np.array([0.2, 0.6]), np.array([7, 7]), resamples=100, confidence=0.95, seed=0)
    assert found.mean == pytest.approx(0.4)
    assert np.isnan([found.low, found.high]).all()
    assert paired_difference(np.array([0.9, 0.8]), np.array([0.1, 0.2]), np.array([7, 7])).tied, "nothing tells them apart"


def test_missing_values_are_left_out() -> None:
    values = np.array([1.0, np.nan, 3.0])
    assert nanmean_interval(values, np.arange(3), resamples=100, confidence=0.95, seed=0).mean == 2.0
    assert np.isnan(nanmean_interval(values * np.nan, np.arange(3), resamples=100, confidence=0.95, seed=0).low)


def test_pairing_is_tighter_and_finds_the_difference() -> None:
    rng = np.random.default_rng(5)
    base, groups = clustered(rng, 35)
    a, b = base + 0.1, base + 0.02 * rng.normal(size=len(base))
    paired = paired_difference(a, b, groups)
    alone = clustered_interval(a, groups, resamples=2000, confidence=0.95, seed=0)
    assert not paired.tied
    assert paired.samples == 105
    assert paired.difference.high - paired.difference.low < 0.1 * (alone.high - alone.low)
    assert paired_difference(b, b, groups).tied


def test_candidates_of_different_samples_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="same samples, got 3 and 2"):
        paired_difference(np.zeros(3), np.zeros(2), np.arange(3))
    with pytest.raises(ConfigurationError, match="at least one sample"):
        paired_difference(np.full(2, np.nan), np.zeros(2), np.arange(2))
