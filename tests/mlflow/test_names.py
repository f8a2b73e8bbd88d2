"""Names of metrics are such that MLflow takes them."""

import pytest
from mlflow.utils.validation import _validate_metric_name

from paretolens.mlflow.names import finite


@pytest.mark.parametrize(
    "kind",
    [
        "video+audio",
        "Asian (East)",
        "a:b",
        "progan/cat",
        "подмена",
        "x" * 400,
        "100 %",
        "a@b,c",
        "a/",
        "a//b",
        "x/../y",
        "a/.",
        "//",
    ],
)
def test_any_kind_of_fake_gives_a_name_that_mlflow_takes(kind: str) -> None:
    kept, left_out = finite({f"teacher/test_auc_{kind}": 0.5, "accuracy": 1.0, f"lost_{kind}": float("nan")})
    for name in kept:
        _validate_metric_name(name)
    assert sorted(kept.values()) == [0.5, 1.0]
    assert kept["accuracy"] == 1.0
    assert len(left_out) == 1


def test_names_that_are_fine_stay() -> None:
    names = ["test_auc_RealVideo-FakeAudio", "epoch/distill_loss", "on_epyc_1t_latency_ms", "test_auc_progan/cat"]
    assert list(finite(dict.fromkeys(names, 0.0))[0]) == names


@pytest.mark.parametrize("name", ["/a", "./a", "../a", "", ".", "..", "/", "a/././b", "a/..", "x" * 249 + "/./y", "a\n", ".../a"])
def test_no_name_is_refused(name: str) -> None:
    (found,) = finite({name: 1.0})[0]
    _validate_metric_name(found)


def test_names_that_would_become_one_stay_apart() -> None:
    long = "k" * 300
    values = {"auc_a+b": 0.1, "auc_a_b": 0.9, "auc_a:b": 0.4, f"{long}1": 0.2, f"{long}2": 0.3, "auc_a//b": 0.5, "auc_a_/b": 0.6}
    kept, left_out = finite(values | {"lost+": float("nan"), "lost:": float("inf")})
    assert sorted(kept.values()) == sorted(values.values())
    assert (kept["auc_a_b"], kept["auc_a_/b"]) == (0.9, 0.6)
    assert len(set(left_out)) == 2
    assert finite(values)[0] == kept, "the same names every time"
    for name in kept:
        _validate_metric_name(name)
