import pandas as pd
import pytest

from paretolens.errors import ConfigurationError
from paretolens.mlflow.where import matches

FRAME = pd.DataFrame(
    {
        "trial": ["0", "1", "2", "3"],
        "latency_ms": [1.0, 4.0, 6.0, float("nan")],
        "eps": [0.7, 0.5, 0.9, 0.95],
        "params.width": [32, 64, 64, 96],
        "params.backbone": ["a", "b", "a", "b"],
        "params.qat": [True, False, True, None],
    }
)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("latency_ms<5 and eps>.6", [0]),
        ("latency_ms < 5", [0, 1]),
        ("not latency_ms < 5", [2]),  # a trial without a latency is out either way
        ("1 < latency_ms <= 6", [1, 2]),
        ("eps > .8 or width == 32", [0, 2, 3]),
        ("params.width in (32, 96)", [0, 3]),
        ("backbone not in ['a']", [1, 3]),
        ("backbone == 'a' and qat", [0, 2]),
        ("not qat", [1]),
        ("latency_ms / width < 0.05", [0]),
        ("-eps < -0.6", [0, 2, 3]),
        ("eps * 2 - 1 > 0.4 + 0.1", [2, 3]),
        ("latency_ms / (width - 64) < 0", [0]),
        ("backbone != 'a'", [1, 3]),
        ("True", [0, 1, 2, 3]),
        ("1 < 0", []),
    ],
)
def test_rows_kept(where: str, rows: list[int]) -> None:
    assert FRAME.index[matches(FRAME, where)].tolist() == rows


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("latency < 5", "no metric or knob 'latency'; did you mean latency_ms"),
        ("withd == 32", "did you mean width"),
        ("zzzzzz == 32", "there are: backbone, eps"),
        ("eps = 5", "write == to compare"),
        ("eps <", "not an expression"),
        ("", "not an expression"),
        ("eps", "is a value, compare"),
        ("__import__('os').system('true')", "not allowed"),
        ("eps.__class__ == 1", "no metric or knob"),
        ("(lambda: 1)() == 1", "not allowed"),
        ("[x for x in (1,)] == 1", "not allowed"),
        ("9**9**9 > eps", "not allowed"),
        ("'a' * 1000000000 == backbone", "is no number"),
        ("backbone < 3", "one is text"),
        ("eps in width", "needs a list"),
        ("eps in (width, 1)", "only hold constants"),
        ("eps is 1", "write =="),
        ("eps > " + "1 + " * 200 + "1", "at most 500"),
        ("((((" * 100 + "1" + "))))" * 10, "at most 500|not an expression"),
    ],
)
def test_what_can_not_be_asked(where: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as error:
        matches(FRAME, where)
    assert "\n" not in str(error.value)


def test_an_empty_table() -> None:
    assert matches(FRAME.iloc[:0], "eps > .5 and backbone == 'a'").tolist() == []
