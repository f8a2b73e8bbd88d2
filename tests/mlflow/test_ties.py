import numpy as np
import pandas as pd

from paretolens.mlflow.objectives import Direction
from paretolens.mlflow.paired import Samples
from paretolens.mlflow.ties import ties

OBJECTIVES: dict[str, Direction] = {"accuracy": "max", "latency_ms": "min"}


def _members(accuracy: list[float], half: float, latency: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "accuracy": accuracy,
            "accuracy_low": [value - half for value in accuracy],
            "accuracy_high": [value + half for value in accuracy],
            "latency_ms": latency,
        }
    )


def test_slower_for_an_accuracy_within_the_interval_is_tied() -> None:
    assert ties(_members([0.95, 0.945, 0.90], 0.01, [5.0, 2.0, 1.0]), OBJECTIVES) == [[1], [], []]


def test_no_ties_beyond_the_intervals() -> None:
    assert ties(_members([0.95, 0.93, 0.90], 0.01, [5.0, 2.0, 1.0]), OBJECTIVES) == [[], [], []]


def test_each_value_must_lie_within_the_other_s_interval() -> None:
    members = _members([0.95, 0.94], 0.02, [5.0, 2.0])
    members.loc[1, "accuracy_high"] = 0.945
    assert ties(members, OBJECTIVES) == [[], []]


def test_without_an_interval_values_are_exact() -> None:
    members = _members([0.95, 0.949], 0.02, [5.0, 2.0])
    assert ties(members[["accuracy", "latency_ms"]], OBJECTIVES) == [[], []]
    members["accuracy_low"] = float("nan")
    members["accuracy_high"] = float("nan")
    assert ties(members, OBJECTIVES) == [[], []]


def test_equal_but_for_noise_in_everything_beats_neither() -> None:
    assert ties(_members([0.95, 0.949], 0.01, [2.0, 2.0]), OBJECTIVES) == [[], []]


def test_samples_that_two_models_do_not_share_leave_it_to_the_intervals() -> None:
    groups = rows = np.arange(2)
    first, second = (Samples(values=np.array(values), groups=groups, rows=rows) for values in ([1.0, np.nan], [np.nan, 0.5]))
    samples = {"accuracy": [first, second]}
    assert ties(_members([0.95, 0.90], 0.01, [5.0, 2.0]), OBJECTIVES, samples) == [[], []]
    assert ties(_members([0.95, 0.945], 0.01, [5.0, 2.0]), OBJECTIVES, samples) == [[1], []]


def test_paired_intervals_are_of_the_level_that_is_asked_for() -> None:
    random = np.random.default_rng(1)
    rows, first = np.arange(30), random.random(30)
    second = first - 0.02 + random.normal(0, 0.06, 30)  # p about 0.1
    samples = {"accuracy": [Samples(values=values, groups=rows, rows=rows) for values in (first, second)]}
    members = _members([0.95, 0.93], 0.1, [5.0, 2.0])
    wide, narrow = (ties(members, OBJECTIVES, samples, {"accuracy": level}) for level in (0.999, 0.5))
    assert (wide, narrow) == ([[1], []], [[], []])
