import csv
import dataclasses
import io
import json

import pytest
from rich.console import Console

from paretolens.mlflow.front import Front, rank_trials
from paretolens.mlflow.table import front_rows, rich_table, to_csv, to_json


def test_rows_compare_with_the_teacher(drawn: Front) -> None:
    rows = front_rows(drawn)
    assert [row["trial"] for row in rows] == drawn.members["trial"].tolist()
    for row, member in zip(rows, drawn.members.to_dict("records"), strict=True):
        assert row["speed_up"] == pytest.approx(14.7 / member["latency_ms"])
        assert row["size_ratio"] == pytest.approx(12.4 / member["size_mb"])
        assert row["parameter_ratio"] == pytest.approx(3.1e6 / member["parameters"])
        assert row["accuracy_low"] == member["accuracy_low"]
        assert row["knobs"]["width"] == member["params.width"]
    assert sum(row["knee"] for row in rows) == 1


def test_without_a_teacher_nothing_is_compared(drawn: Front) -> None:
    row = front_rows(dataclasses.replace(drawn, study=None))[0]
    assert row["speed_up"] is row["size_ratio"] is row["parameter_ratio"] is None


def test_json_is_strict(drawn: Front) -> None:
    content = json.loads(to_json(dataclasses.replace(drawn, notes=("samples are gone",))), parse_constant=pytest.fail)
    assert content["notes"] == ["samples are gone"]
    assert [row["trial"] for row in content["history"]] == drawn.history()["trial"].tolist()
    assert content["history"][-1]["attained"] == 1
    assert content["study"] == "drawn"
    assert content["objectives"] == {"accuracy": "max", "latency_ms": "min", "eps": "max"}
    assert drawn.knee is not None
    assert content["knee"] == drawn.knee["trial"]
    assert len(content["front"]) == len(drawn.members)


def test_csv_reads_back_and_is_no_formula(drawn: Front) -> None:
    table = drawn.trials.drop(columns=["rank", "crowding", "pareto", "knee", "tied_with"])
    table["params.backbone"] = "=HYPERLINK(1)"
    rows = list(csv.DictReader(io.StringIO(to_csv(rank_trials(table)))))
    assert [row["trial"] for row in rows] == drawn.members["trial"].tolist()
    assert float(rows[0]["accuracy"]) == drawn.members["accuracy"].iloc[0]
    assert {row["params.backbone"] for row in rows} == {"'=HYPERLINK(1)"}


@pytest.mark.parametrize("width", [80, 110, 200])
def test_the_table_fits_the_terminal_and_keeps_what_matters(drawn: Front, width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    console.print(rich_table(drawn, width=width))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for heading in ("Accuracy", "Latency (ms)", "faster", "EPS", "◆"):
        assert heading in text
    assert ("width" in text) is (width > 80)


def test_an_empty_front(drawn: Front) -> None:
    empty = rank_trials(drawn.trials.iloc[:0])
    assert front_rows(empty) == []
    assert json.loads(to_json(empty))["front"] == []
    assert rich_table(empty, width=80).row_count == 0
    assert to_csv(empty).strip() == ""
