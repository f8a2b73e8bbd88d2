"""What a wrong name is answered with."""

from paretolens.naming import did_you_mean, nearest, nearest_hint


def test_in_brackets_the_nearest_name_or_all() -> None:
    assert nearest("trails", ["trials", "workers"], prefix=("search",)) == " (did you mean search.trials?)"
    assert nearest("zzz", ["b", "a"]) == " (allowed: a, b)"


def test_at_the_end_the_nearest_and_all_in_their_order() -> None:
    assert did_you_mean("resnet19", ["resnet34", "resnet18"]) == "; did you mean resnet18? Allowed: resnet18, resnet34"
    assert did_you_mean(9, (16, 4, 8)) == "; allowed: 16, 4, 8"
    assert did_you_mean("a", []) == "; there is none yet"


def test_nothing_is_suggested_that_is_not_near() -> None:
    """A beginning counts, capitals don't; a few letters in common are no likeness."""
    assert nearest("nope", ["pinpoint-1", "one"]) == " (allowed: one, pinpoint-1)"
    assert nearest("latency", ["latency_ms", "eps"]) == " (did you mean latency_ms?)"
    assert nearest_hint("mobilenet", ["resnet18", "mobilenet_v3_small"]) == "; did you mean mobilenet_v3_small?"
    assert nearest_hint("GRU", ["gru", "tcn"]) == "; did you mean gru?"
    assert nearest_hint("batch", ["patch_weight", "depth"]) == ""
    assert did_you_mean("nope", ["b", "a"], said="there are") == "; there are: a, b"


def test_of_many_names_five_and_how_to_see_all() -> None:
    names = [f"metric_{number}" for number in range(200)]
    told = did_you_mean("metric_1x", names, listing="'front --columns' lists them")
    assert told.startswith("; did you mean metric_1")
    assert told.endswith("; 'front --columns' lists them")
    assert "The nearest of 200: " in told
    assert told.count("metric_") == 6
    assert len(did_you_mean("metric_1x", names)) > 1000
