import math
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretolens.errors import ConfigurationError
from paretolens.spaces.knobs import Knob, Space, Stage


def knob(**changes):
    return Knob(**{"name": "depth", "stage": Stage.STUDENT, "doc": "blocks", "default": 2, "choices": (1, 2, 3), **changes})


def ranged(**changes):
    return knob(**{"name": "beta", "default": 0.3, "choices": (), "low": 0.0, "high": 3.0, **changes})


def even_sum(space, genome):
    """Rule: depth + width is even; depth gives way."""
    depths = [value for value in space.knob("depth").grid if (value + genome["width"]) % 2 == 0]
    if not depths:
        raise ConfigurationError(f"knob depth: no choice fits width {genome['width']}")
    return {**genome, "depth": min(depths, key=lambda value: abs(value - genome["depth"]))}


def space():
    return Space(
        knobs=(
            knob(),
            knob(name="width", choices=(4, 5, 6), default=4),
            ranged(),
            knob(name="qat", choices=(False, True), default=False, allowed=(False, True)),
        ),
        rule=even_sum,
        idle=lambda genome: frozenset({"beta"}) if genome["qat"] else frozenset(),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": 0.0, "high": 1.0}, "either choices or both low and high"),
        ({"choices": ()}, "either choices or both low and high"),
        ({"choices": (1, 1, 2)}, "stands twice"),
        ({"default": 4}, "the default 4 is not within"),
        ({"choices": (1, 2, "x")}, "expected a whole number; got 'x'|expected a number; got 'x'"),
        ({"choices": (2, 9), "limits": (1, 8)}, "9 lies outside of 1 to 8"),
    ],
)
def test_contradictory_choices_are_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        knob(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": 4.0}, "low must not be above high"),
        ({"log": True}, "needs low > 0"),
        ({"low": 0.1, "log": True, "step": 0.1}, "no step"),
        ({"step": -0.5}, "step must be above 0"),
        ({"high": None}, "both low and high"),
    ],
)
def test_contradictory_ranges_are_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        ranged(**changes)


def test_a_stepped_range_is_a_grid():
    assert ranged(low=0.0, high=0.6, step=0.1, default=0.3).grid == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert ranged().grid == ()


@given(st.integers(0, 2**32), st.sampled_from([{}, {"step": 0.25, "default": 0.25}, {"low": 0.01, "log": True}]))
def test_what_is_drawn_is_held(seed, changes):
    one = ranged(**changes)
    assert one.holds(one.sample(random.Random(seed)))


def test_a_logarithmic_range_is_drawn_by_magnitude():
    one, rng = ranged(low=0.01, high=1.0, log=True), random.Random(0)
    below = sum(float(one.sample(rng)) < 0.1 for _ in range(2000)) / 2000
    assert below == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 2000))


@pytest.mark.parametrize(
    ("value", "held"), [(1, True), (1.0, True), (True, False), ("1", False), (4, False), (float("nan"), False)]
)
def test_choices_hold_their_own_kind(value, held):
    assert knob().holds(value) is held


def test_booleans_are_no_numbers():
    switch = knob(name="qat", choices=(False, True), default=False, allowed=(False, True))
    assert switch.holds(True)
    assert not switch.holds(1)
    assert not ranged().holds(True)


@pytest.mark.parametrize(
    ("wish", "described"),
    [([2, 4], "{2, 4}"), (7, "{7}"), ((1, 2), "{1, 2}")],
)
def test_choices_can_be_overridden(wish, described):
    assert knob().override(wish).describe() == described


def test_a_default_that_is_gone_becomes_the_nearest():
    assert knob().override([7, 3]).default == 3
    assert knob().override([3, 2]).default == 2
    assert ranged().override({"step": 0.5}).default == 0.5
    assert ranged().override({"low": 1.0}).default == 1.0


@pytest.mark.parametrize(
    ("wish", "described"),
    [({"high": 1}, "0 to 1"), ({"low": 0.1, "log": True}, "0.1 to 3, log"), ([0.0, 0.3], "{0, 0.3}"), (0.5, "{0.5}")],
)
def test_ranges_can_be_overridden(wish, described):
    assert ranged().override(wish).describe() == described


@pytest.mark.parametrize(
    ("one", "wish", "message"),
    [
        (knob(), [], "list of choices is empty"),
        (knob(), [1.5], "expected a whole number; got 1.5"),
        (knob(), "many", "expected a whole number; got 'many'"),
        (knob(), {"low": 1, "high": 3}, "a choice takes a list such as"),
        (knob(limits=(1, 8)), [1, 64], "64 lies outside of 1 to 8"),
        (ranged(), {"hihg": 1}, r"\['hihg'\] cannot be set"),
        (ranged(), {"high": "x"}, "high must be a number; got 'x'"),
        (ranged(), {"low": 9}, "low must not be above high"),
        (
            knob(name="b", choices=("gru", "tcn"), default="gru", allowed=("gru", "tcn")),
            ["grU"],
            r"'grU' is not allowed; did you mean gru\?",
        ),
    ],
)
def test_bad_wishes_are_refused_in_one_line(one, wish, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        one.override(wish)
    assert "\n" not in str(caught.value)


def test_a_genome_is_validated_with_every_mistake_named():
    with pytest.raises(ConfigurationError) as caught:
        space().validate({"dpeth": 1, "width": 9, "beta": 0.1, "qat": 1})
    text = str(caught.value)
    assert "unknown knob 'dpeth'; did you mean depth?" in text
    assert "knob depth is missing" in text
    assert "width is 9, allowed: {4, 5, 6}" in text
    assert "qat is 1, allowed: {off, on}" in text


def test_values_that_do_not_fit_together_are_told_with_what_would():
    with pytest.raises(ConfigurationError, match="depth 1 does not fit the others, 2 would"):
        space().validate({"depth": 1, "width": 4, "beta": 0.1, "qat": False})


@given(st.integers(0, 2**32))
def test_samples_are_valid_and_repair_is_idempotent(seed):
    one = space()
    genome = one.sample(random.Random(seed))
    one.validate(genome)
    assert one.repair(genome) == genome


def test_the_same_seed_draws_the_same_genome():
    assert space().sample(random.Random(5)) == space().sample(random.Random(5))


def test_idle_knobs_are_left_out_of_the_active_part():
    one = {"depth": 2, "width": 4, "beta": 0.1, "qat": True}
    assert space().active(one) == {"depth": 2, "width": 4, "qat": True}
    assert space().active({**one, "qat": False}) == {**one, "qat": False}


def test_size_counts_genomes_unless_a_range_is_continuous():
    assert space().size() is None
    assert space().override({"beta": {"step": 0.5}}).size() == 3 * 3 * 7 * 2


def test_overriding_names_every_mistake():
    with pytest.raises(ConfigurationError) as caught:
        space().override({"widht": [4], "depth": ["x"]})
    assert "knob 'widht' is not known; did you mean width?" in str(caught.value)
    assert "knob depth: expected a whole number" in str(caught.value)


def test_choices_that_never_fit_are_found_when_they_are_set():
    with pytest.raises(ConfigurationError, match="no choice fits width 5"):
        space().override({"depth": [2]})


def test_rows_describe_every_knob():
    assert space().rows()[2] == ("student", "beta", "0 to 3", "0.3", "blocks")


def test_nothing_heavy_is_imported():
    code = "import sys, paretolens.spaces.knobs; print([name for name in ('torch', 'optuna', 'numpy') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
