"""What a report says of running a study again is enough to run it again."""

from pathlib import Path

from paretolens.mlflow.events import to_text
from paretolens.mlflow.report.reproduce import configuration_yaml
from paretolens.search import schema
from paretolens.search.config import load_config
from paretolens.search.study import flatten


def test_the_configuration_of_a_run_makes_the_same_study(tmp_path: Path) -> None:
    wanted = load_config(
        assignments=["space.width=[32,48]", "eps.nodes=8", "limits.latency_ms=25%", "student.quantise.keep=['*.gate','a b']"],
        flags={"seed": 7, "tracking": {"uri": "sqlite:///elsewhere.db"}},
    )
    params = {name: to_text(value) for name, value in flatten(schema.to_plain(wanted)).items()}
    path = tmp_path / "study.yaml"
    path.write_text(configuration_yaml(params), encoding="utf-8")
    again = load_config(file=path, flags={})
    assert again.identity() == wanted.identity()
    assert again.search == wanted.search
    assert again.tracking.uri is None


def test_a_run_without_parameters_has_none() -> None:
    assert configuration_yaml({}) == ""
