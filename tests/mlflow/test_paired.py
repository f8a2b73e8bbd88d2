import numpy as np

from paretolens.mlflow.paired import Samples, different


def plain_interval(difference: np.ndarray, groups: np.ndarray, seed: int) -> tuple[float, float]:
    """Whole groups drawn with replacement, one resample after the other."""
    random, names = np.random.default_rng(seed), np.unique(groups)
    means = [
        np.nanmean(np.concatenate([difference[groups == name] for name in random.choice(names, len(names))])) for _ in range(400)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def test_agrees_with_groups_drawn_one_by_one() -> None:
    verdicts = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        groups, rows = np.repeat(np.arange(15), 3), np.arange(45)
        first = random.random(45)
        second = first + random.normal(0.03 * (seed % 4), 0.1, 45)
        first[random.random(45) < 0.2] = np.nan
        a, b = (Samples(values=values, groups=groups, rows=rows) for values in (first, second))
        assert different(a, b) is different(b, a)
        low, high = plain_interval(first - second, groups, seed)
        if min(abs(low), abs(high)) > 0.01:  # further from 0 than the noise of 400 draws
            verdicts.append(low > 0 or high < 0)
            assert different(a, b) is verdicts[-1]
    assert set(verdicts) == {True, False}


def test_without_a_common_sample_nothing_can_be_said() -> None:
    groups = rows = np.arange(2)
    a = Samples(values=np.array([1.0, np.nan]), groups=groups, rows=rows)
    b = Samples(values=np.array([np.nan, 0.0]), groups=groups, rows=rows)
    assert different(a, b) is None
    assert not a.matches(Samples(values=a.values, groups=groups, rows=rows + 1))
