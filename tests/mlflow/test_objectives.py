import numpy as np
import pandas as pd
import pytest

from paretolens.errors import ConfigurationError
from paretolens.mlflow.objectives import check_objectives, minimised, parse_objectives, usual_direction


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("accuracy", "max"),
        ("test_accuracy", "max"),
        ("eps", "max"),
        ("auc", "max"),
        ("latency_ms", "min"),
        ("size_mb", "min"),
        ("parameters", "min"),
        ("macs", "min"),
        ("eer", "min"),
        ("peak_memory_mb", "min"),
        ("quiet_p50_ms", "min"),
        ("my_score", None),
    ],
)
def test_direction_by_name(name: str, direction: str | None) -> None:
    assert usual_direction(name) == direction


def test_parse() -> None:
    assert parse_objectives("accuracy, size_mb,my_score:min") == {"accuracy": "max", "size_mb": "min", "my_score": "min"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one"),
        ("my_score", "my_score:max or my_score:min"),
        ("accuracy:up", "max or min, got 'up'"),
        ("accuracy:min", "larger is better.*accuracy:max"),
        ("latency_ms:max", "smaller is better"),
    ],
)
def test_wrong_objectives(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_objectives(text)


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'latency_ms'"):
        check_objectives({"latancy_ms": "min"}, columns=["accuracy", "latency_ms"])
    with pytest.raises(ConfigurationError, match="there are: accuracy"):
        check_objectives({"zzz": "min"}, columns=["accuracy"])


def test_minimised_turns_what_is_maximised() -> None:
    frame = pd.DataFrame({"accuracy": [0.9, None], "latency_ms": [3, 4]})
    np.testing.assert_array_equal(minimised(frame, {"latency_ms": "min", "accuracy": "max"}), [[3, -0.9], [4, np.nan]])
