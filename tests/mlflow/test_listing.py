"""The listing names what a filter and an objective may name."""

import io

import pandas as pd
from rich.console import Console

from paretolens.mlflow.listing import listing_table
from paretolens.mlflow.objectives import check_objectives, parse_objectives
from paretolens.mlflow.where import matches

TRIALS = pd.DataFrame(
    {
        "trial": ["0", "1", "2"],
        "state": ["complete", "complete", "failed"],
        "latency_ms": [1.5, 4.0, None],
        "eps": [0.7, 0.5, None],
        "my_score": [1.0, 2.0, None],
        "params.width": [32, 64, 64],
        "params.backbone": ["b", "a", "b"],
        "params.qat": [True, False, None],
    }
)


def rows_of() -> dict[str, list[str]]:
    text = io.StringIO()
    Console(file=text, width=140).print(listing_table(TRIALS))
    rows = ([cell.strip() for cell in line.split("│")] for line in text.getvalue().splitlines() if "│" in line)
    return {row[1]: row[2:-1] for row in rows}


def test_every_metric_and_knob_stands_there_as_it_can_be_typed() -> None:
    rows = rows_of()
    assert list(rows) == ["eps", "latency_ms", "my_score", "backbone", "qat", "width"]
    assert rows["latency_ms"] == ["metric", "less", "2", "1.5 to 4"]
    assert rows["my_score"] == ["metric", "–", "2", "1 to 2"]
    assert rows["backbone"] == ["knob", "", "3", "a, b"]
    for name, row in rows.items():
        assert matches(TRIALS, f"{name} == {name}").any()
        if row[0] == "metric" and row[1] != "–":
            assert check_objectives(parse_objectives(name), columns=TRIALS.columns)
