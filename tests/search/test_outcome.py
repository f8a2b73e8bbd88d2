"""What a trial may return."""

import math

import numpy as np
import pytest

from paretolens.errors import TrialError
from paretolens.search.outcome import TrialOutcome, check_outcome, genome_key

NAMES = ("cost", "gain")


def test_scalars_of_other_libraries_become_floats() -> None:
    outcome = check_outcome(TrialOutcome(values={"cost": np.float32(0.5), "gain": 1}), NAMES)
    assert outcome.values == {"cost": 0.5, "gain": 1.0}
    assert all(type(value) is float for value in outcome.values.values())


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, "returned NoneType"),
        ({"cost": 1.0, "gain": 1.0}, "returned dict"),
        (TrialOutcome(values={"cost": 1.0}), "no value for gain"),
        (TrialOutcome(values={"cost": math.nan, "gain": 1.0}), "not finite: cost = nan"),
        (TrialOutcome(values={"cost": 1.0, "gain": math.inf}), "not finite: gain = inf"),
        (TrialOutcome(values={"cost": "low", "gain": 1.0}), "the text 'low'"),
        (TrialOutcome(values={"cost": [1], "gain": 1.0}), "of type list"),
    ],
)
def test_what_cannot_be_recorded_is_refused_with_its_reason(returned: object, told: str) -> None:
    with pytest.raises(TrialError, match=told):
        check_outcome(returned, NAMES)


def test_a_violated_limit_may_leave_objectives_out() -> None:
    outcome = check_outcome(TrialOutcome(values={"cost": 9.0}, violations={"cost": 4.0}), NAMES)
    assert outcome.values == {"cost": 9.0}


def test_non_finite_metrics_are_left_out_and_named() -> None:
    values = {"cost": 1.0, "gain": 1.0}
    outcome = check_outcome(TrialOutcome(values=values, metrics={"loss": math.inf, "auc": 0.5, "eer": math.nan}), NAMES)
    assert outcome.metrics == {"auc": 0.5}
    assert outcome.details == {"non_finite": ["eer", "loss"]}


def test_a_key_depends_on_content_not_on_order() -> None:
    assert genome_key({"a": 1, "b": 0.5}) == genome_key({"b": 0.5, "a": 1})
    assert genome_key({"a": 1}) != genome_key({"a": 2})
    assert genome_key({"a": 1}) != genome_key({"a": True})
