"""Choosing members of a front by name."""

import pandas as pd
import pytest

from paretolens.errors import ConfigurationError
from paretolens.mlflow.front import Front, rank_trials
from paretolens.search.finish import choose, require_members


@pytest.fixture
def found() -> Front:
    rows = [
        ("trial-0000", 0.90, 2.0, 0.5),
        ("trial-0003", 0.95, 8.0, 0.6),
        ("trial-0007", 0.80, 1.0, 0.3),
        ("trial-0009", 0.79, 9.0, 0.2),
    ]
    return rank_trials(pd.DataFrame(rows, columns=["trial", "accuracy", "latency_ms", "eps"]))


@pytest.mark.parametrize(
    ("selection", "trials"),
    [
        ("fastest", ["trial-0007"]),
        ("most-faithful", ["trial-0003"]),
        ("most-accurate", ["trial-0003"]),
        ("7", ["trial-0007"]),
        ("#7", ["trial-0007"]),
        ("trial-0000", ["trial-0000"]),
        ("all", ["trial-0003", "trial-0000", "trial-0007"]),
    ],
)
def test_members_by_name(found: Front, selection: str, trials: list[str]) -> None:
    assert [row["trial"] for row in choose(found, selection)] == trials


def test_knee_is_one_member(found: Front) -> None:
    assert len(choose(found, "knee")) == 1


@pytest.mark.parametrize("selection", ["9", "fastset", "trial-0009"])
def test_no_such_member_names_what_there_is(found: Front, selection: str) -> None:
    with pytest.raises(ConfigurationError, match="no such member"):
        choose(found, selection)


def test_a_trial_off_the_front_is_found_where_that_is_allowed(found: Front) -> None:
    assert [row["trial"] for row in choose(found, "9", anywhere=True)] == ["trial-0009"]
    with pytest.raises(ConfigurationError, match="--select 8: no such complete trial"):
        choose(found, "8", anywhere=True)


def test_empty_front_says_so() -> None:
    empty = rank_trials(pd.DataFrame({"trial": [], "accuracy": [], "latency_ms": [], "eps": []}, dtype=float))
    with pytest.raises(ConfigurationError, match="the front is empty"):
        choose(empty, "knee")


def test_a_front_that_a_filter_emptied_blames_the_filter(found: Front) -> None:
    with pytest.raises(ConfigurationError, match=r"--where leaves out all 4 complete trials"):
        require_members(rank_trials(found.trials, where="latency_ms < 0.1"))
