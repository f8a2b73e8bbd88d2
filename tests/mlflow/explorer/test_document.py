import json
import math
import shlex
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from paretolens.mlflow.explorer.document import SCHEMA, build_document, to_json
from paretolens.mlflow.explorer.pictures import Picture, Pictures
from paretolens.mlflow.front import Front, front_of, rank_trials
from paretolens.mlflow.names import interval_names
from paretolens.mlflow.records import merge_studies


def _read(front: Front) -> dict:
    return json.loads(to_json(build_document(front)))


def test_every_trial_is_in_the_document_with_its_figures(drawn: Front) -> None:
    document = _read(drawn)
    trials = document["trials"]
    assert document["schema"] == SCHEMA
    assert document["study"] == "drawn"
    assert document["objectives"] == {"accuracy": "max", "latency_ms": "min", "eps": "max"}
    assert trials["trial"] == drawn.trials["trial"].tolist()
    assert sum(trials["pareto"]) == len(drawn.members)
    assert trials["knee"].count(True) == 1
    for name in ("accuracy", "latency_ms", "eps_low", "params.width"):
        np.testing.assert_allclose(trials["values"][name], drawn.trials[name].to_numpy(dtype=float), rtol=1e-6)
    assert {len(column) for column in trials["values"].values()} == {len(drawn.trials)}


def test_columns_carry_label_unit_and_direction(drawn: Front) -> None:
    columns = {column["name"]: column for column in _read(drawn)["columns"]}
    assert list(columns)[:3] == ["accuracy", "latency_ms", "eps"]
    assert columns["latency_ms"] | {"label": "Latency", "unit": "ms", "direction": "min"} == columns["latency_ms"]
    assert columns["accuracy"]["kind"] == "share"
    assert columns["size_mb"]["group"] == columns["parameters"]["group"] == "size"
    assert columns["params.width"]["group"] == columns["params.backbone"]["group"] == "knob"
    assert columns["params.backbone"]["kind"] == "category"
    assert not {end for name in columns for end in interval_names(name)} & columns.keys()


def test_panels_have_teacher_floor_and_reference(drawn: Front) -> None:
    assert drawn.study is not None
    metrics = {**drawn.study.metrics, "eps_reference_low": 0.8, "eps_reference_high": 0.86}
    accuracy, eps = _read(replace(drawn, study=replace(drawn.study, metrics=metrics)))["panels"]
    assert (accuracy["x"], accuracy["y"], accuracy["log_x"]) == ("latency_ms", "accuracy", True)
    assert accuracy["teacher"] == [14.7, 0.962]
    assert accuracy["rules"] == []
    assert eps["teacher"] == [14.7, 1.0]
    assert [(rule["value"], rule["low"], rule["high"]) for rule in eps["rules"]] == [(0.11, 0.11, 0.11), (0.83, 0.8, 0.86)]
    assert all(drawn.trials["pareto"].iloc[row] for row in eps["stairs"])


def test_floor_and_reference_lie_on_the_axis_of_eps(drawn: Front) -> None:
    both = replace(rank_trials(drawn.trials, {"accuracy": "max", "eps": "max"}), study=drawn.study)
    (panel,) = _read(both)["panels"]
    assert (panel["x"], panel["rules"]) == ("eps", [])
    assert [(rule["value"], rule["dash"]) for rule in panel["x_rules"]] == [(0.11, "dash"), (0.83, "dot")]
    assert [panel["x_rules"] for panel in _read(drawn)["panels"]] == [[], []]


def test_a_band_alone_is_drawn_around_its_middle(drawn: Front) -> None:
    assert drawn.study is not None
    known = {"eps_reference_low": 0.8, "eps_reference_high": 0.9}
    (rule,) = _read(replace(drawn, study=replace(drawn.study, metrics=known)))["panels"][1]["rules"]
    assert rule["value"] == pytest.approx(0.85)


def test_what_is_not_a_number_becomes_nothing(trials: Callable[..., pd.DataFrame]) -> None:
    table = trials(12)
    table.loc[0, "eps"] = math.inf
    table.loc[1, ["accuracy_low", "size_mb"]] = math.nan
    table["state"] = ["complete"] * 9 + ["failed", "pruned", "running"]
    document = _read(rank_trials(table))
    shown = document["trials"]
    assert len(shown["trial"]) == 12
    assert shown["rank"].count(None) == 4
    lost = shown["trial"].index("0")
    assert shown["rank"][lost] is None
    assert shown["values"]["eps"][lost] is None
    assert shown["note"][lost] == "no finite eps"
    assert shown["values"]["size_mb"][shown["trial"].index("1")] is None
    assert document["notes"] == ["Not drawn: 1 failed, 1 pruned, 1 running, 1 no finite eps."] or all(
        part in document["notes"][0] for part in ("1 failed", "1 pruned", "1 running", "1 no finite eps")
    )


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_anything_to_show(trials: Callable[..., pd.DataFrame], count: int) -> None:
    document = _read(rank_trials(trials(5).iloc[:count]))
    assert len(document["trials"]["trial"]) == count
    assert len(document["panels"]) == 2
    assert document["progress"]["trials"] == [1] * count
    assert all("too few" in entry["note"] for entry in document["importance"])


def test_only_failures(trials: Callable[..., pd.DataFrame]) -> None:
    document = _read(rank_trials(trials(3).assign(state="failed", reason="a loss is not finite")))
    assert document["summary"] == "no complete trial yet"
    assert document["trials"]["note"] == ["a loss is not finite"] * 3


def test_a_running_study_says_so(drawn: Front) -> None:
    assert drawn.study is not None
    running = replace(drawn, study=replace(drawn.study, tags={"paretolens.state": "running"}))
    assert "still running" in _read(running)["notes"][0]


def test_what_a_filter_leaves_out_is_not_shown(trials: Callable[..., pd.DataFrame]) -> None:
    document = _read(rank_trials(trials(20), where="latency_ms < 1"))
    assert 0 < len(document["trials"]["trial"]) < 20
    assert max(document["trials"]["values"]["latency_ms"]) < 1
    assert "left out by the filter" in document["notes"][0]


def test_pictures_travel(drawn: Front) -> None:
    member = str(drawn.members["trial"].iloc[0])
    picture = Picture(name="best", src="data:image/webp;base64,AA==", width=7, height=5)
    document = build_document(drawn, pictures=Pictures(of={member: [picture]}, notes=["one is lost"]))
    read = json.loads(to_json(document))
    assert read["pictures"] == {member: [{"name": "best", "src": picture.src, "width": 7, "height": 5}]}
    assert read["notes"][-1] == "one is lost"


def test_no_text_can_end_the_script_element(drawn: Front) -> None:
    assert drawn.study is not None
    evil = "</script><img src=x onerror=alert(1)>&<!--\u2028"
    trials = drawn.trials.assign(**{"params.backbone": evil, "reason": evil})
    text = to_json(build_document(replace(drawn, trials=trials, study=replace(drawn.study, name=evil))))
    assert not set("<>&") & set(text)
    read = json.loads(text)
    assert read["study"] == read["trials"]["values"]["params.backbone"][0] == evil


def test_commands_only_for_what_export_takes(drawn: Front) -> None:
    assert drawn.study is not None
    usual = _read(drawn)["commands"]
    assert set(usual) == set(drawn.members["trial"])
    trial = next(iter(usual))
    assert usual[trial] == f"paretolens export drawn --select {trial}"
    named = replace(drawn, study=replace(drawn.study, name="it's mine"))
    assert shlex.split(_read(named)["commands"][trial])[2:] == ["it's mine", "--select", trial]
    other = front_of(drawn.study, {"size_mb": "min", "eps": "max"}, paired=False)
    assert set(_read(other)["commands"]) == set(other.members["trial"]) & set(usual)
    assert _read(rank_trials(drawn.trials))["commands"] == {}


def test_commands_of_a_merged_front_name_each_trial_s_own_study(drawn: Front, trials: Callable[..., pd.DataFrame]) -> None:
    assert drawn.study is not None
    records = [replace(drawn.study, name=name, run_id=name, trials=trials(30, seed)) for seed, name in enumerate(("a", "b"))]
    commands = _read(front_of(merge_studies(records), paired=False))["commands"]
    assert {command.split()[2] for command in commands.values()} == {"a", "b"}
    for trial, command in commands.items():
        study, _, own = trial.partition("/")
        assert command == f"paretolens export {study} --select {own}"
        record = next(one for one in records if one.name == study)
        assert own in set(front_of(record, paired=False).members["trial"])
    twice = merge_studies([replace(record, name="same", run_id=f"{record.name * 32}") for record in records])
    assert _read(front_of(twice, paired=False))["commands"] == {}


def test_latencies_of_every_runtime_are_named(drawn: Front) -> None:
    figures = {"on_onnxruntime_cpu_1t_p50_ms": 2.5, "on_litert_int8_4t_p99_ms": 1.5, "on_litert_1t_accuracy": 0.9}
    columns = {column["name"]: column for column in _read(replace(drawn, trials=drawn.trials.assign(**figures)))["columns"]}
    first, second, third = (columns[name] for name in figures)
    assert (first["label"], first["unit"], first["group"]) == ("ONNX Runtime, 1 thread: P50", "ms", "latency")
    assert (second["label"], second["group"]) == ("LiteRT int8, 4 threads: P99", "latency")
    assert (third["label"], third["group"], third["direction"]) == ("LiteRT, 1 thread: Accuracy", "quality", "max")


def test_stairs_go_the_way_of_the_objective(drawn: Front) -> None:
    assert {panel["step"] for panel in _read(drawn)["panels"]} == {"step-after"}
    both = rank_trials(drawn.trials, {"accuracy": "max", "eps": "max"})
    assert {panel["step"] for panel in _read(both)["panels"]} == {"step-before"}


def test_the_level_of_the_intervals_is_the_study_s(drawn: Front) -> None:
    assert drawn.study is not None
    document = _read(replace(drawn, study=replace(drawn.study, params={"eps.confidence": "0.8"})))
    assert document["confidence"] == {"accuracy": 0.95, "eps": 0.8}
    assert document["levels"] == "95 % (accuracy) and 80 % (eps)"
