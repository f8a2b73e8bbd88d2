"""Names of metrics are such that MLflow takes them."""

import pytest
from mlflow.utils.validation import _validate_metric_name

from paretolens.mlflow.names import finite


@pytest.mark.parametrize("kind", ["video+audio", "Asian (East)", "a:b", "progan/cat", "подмена", "x" * 400, "100 %", "a@b,c"])
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
