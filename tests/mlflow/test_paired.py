import numpy as np
import pytest

from paretolens.evaluators.eps.bootstrap import paired_difference
from paretolens.mlflow.paired import Samples, different


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_the_evaluator_s_paired_comparison(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups, rows = np.repeat(np.arange(15), 3), np.arange(45)
    first = random.random(45)
    second = first + random.normal(0.03 * (seed % 4), 0.1, 45)
    first[random.random(45) < 0.2] = np.nan
    a, b = (Samples(values=values, groups=groups, rows=rows) for values in (first, second))
    assert different(a, b) is different(b, a) is not paired_difference(first, second, groups).tied


def test_without_a_common_sample_nothing_differs() -> None:
    groups = rows = np.arange(2)
    a = Samples(values=np.array([1.0, np.nan]), groups=groups, rows=rows)
    b = Samples(values=np.array([np.nan, 0.0]), groups=groups, rows=rows)
    assert not different(a, b)
    assert not a.matches(Samples(values=a.values, groups=groups, rows=rows + 1))
