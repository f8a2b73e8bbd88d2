from paretolens.mlflow.confidence import confidence_of, levels_told


def test_only_eps_has_a_level_of_its_own() -> None:
    params = {"eps.confidence": "0.9"}
    assert [confidence_of(params, name) for name in ("eps", "eps_video", "accuracy")] == [0.9, 0.9, 0.95]
    assert confidence_of({}, "eps") == 0.95


def test_levels_in_words() -> None:
    assert levels_told({"eps.confidence": "0.95"}, ["accuracy", "eps"]) == "95 %"
    assert levels_told({"eps.confidence": "0.999"}, ["accuracy", "eps"]) == "95 % (accuracy) and 99.9 % (eps)"
    assert levels_told({}, []) == "95 %"
