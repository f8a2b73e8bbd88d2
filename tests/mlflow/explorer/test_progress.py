from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from pymoo.indicators.hv import HV

from paretolens.mlflow.explorer.progress import search_progress
from paretolens.mlflow.front import rank_trials


def test_the_volume_grows_to_that_of_the_front(trials: Callable[..., pd.DataFrame]) -> None:
    table = trials(60)
    random = np.random.default_rng(3)
    table = table.assign(started_ms=np.arange(60) * 60_000, run_seconds=random.uniform(30, 600, 60))
    front = rank_trials(table)
    found = search_progress(front)
    assert found.trials[0] == 1
    assert found.trials[-1] == 60
    assert (np.diff(found.hypervolume) >= -1e-12).all()
    assert found.attained == sorted(found.attained)
    assert found.attained[-1] == 1
    assert found.hypervolume[-1] == pytest.approx(front.hypervolume())
    assert found.hours[-1] == pytest.approx((table["started_ms"] / 1000 + table["run_seconds"]).max() / 3600)


def test_each_step_agrees_with_pymoo(trials: Callable[..., pd.DataFrame]) -> None:
    table = trials(25).assign(started_ms=np.arange(25) * 1000, run_seconds=1.0)
    points = table[["accuracy", "latency_ms", "eps"]].to_numpy() * [-1, 1, -1]
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / (high - low)
    found = search_progress(rank_trials(table))
    for count, volume in zip(found.trials, found.hypervolume, strict=True):
        assert volume == pytest.approx(HV(ref_point=np.ones(3))(scaled[:count]))


def test_a_long_search_is_thinned_out() -> None:
    count = 300
    place = np.linspace(0, 1, count)  # every trial extends the front
    table = pd.DataFrame({"trial": [str(i) for i in range(count)], "accuracy": place, "latency_ms": place + 0.1})
    found = search_progress(rank_trials(table, {"accuracy": "max", "latency_ms": "min"}))
    assert len(found.trials) == 200
    assert found.trials[-1] == count
    assert set(found.hours) == {None}
