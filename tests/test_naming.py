"""What a wrong name is answered with."""

from paretolens.naming import did_you_mean, nearest


def test_in_brackets_the_nearest_name_or_all() -> None:
    assert nearest("trails", ["trials", "workers"], prefix=("search",)) == " (did you mean search.trials?)"
    assert nearest("zzz", ["b", "a"]) == " (allowed: a, b)"


def test_at_the_end_the_nearest_and_all_in_their_order() -> None:
    assert did_you_mean("resnet19", ["resnet34", "resnet18"]) == "; did you mean resnet18? Valid: resnet18, resnet34"
    assert did_you_mean(9, (16, 4, 8)) == "; Valid: 16, 4, 8"
    assert did_you_mean("a", []) == "; Valid: none yet"


def test_of_many_names_five_and_how_to_see_all() -> None:
    names = [f"metric_{number}" for number in range(200)]
    told = did_you_mean("metric_1x", names, listing="'front --columns' lists them")
    assert told.startswith("; did you mean metric_1")
    assert told.endswith("; 'front --columns' lists them")
    assert "The nearest of 200: " in told
    assert told.count("metric_") == 6
    assert len(did_you_mean("metric_1x", names)) > 1000
