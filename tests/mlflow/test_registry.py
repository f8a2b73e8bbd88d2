"""Models in the registry: loaded again and served by MLflow itself, whose answers must be ONNX Runtime's."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow.onnx
import mlflow.pyfunc
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from paretolens.errors import BackendError, ConfigurationError
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.records import StudyRecord, read_study
from paretolens.mlflow.registry import Candidate, register
from paretolens.mlflow.store import open_client
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.mlflow.twin import fetch_twin
from paretolens.mlflow.ui import free_port

Make = Callable[..., Candidate]


@pytest.fixture
def study(store: str, request: pytest.FixtureRequest) -> StudyRecord:
    name = f"registered-{request.node.name[:60]}"
    with MlflowTracker(tracking_uri=store, spool=None) as tracker:
        tracker.start_study(StudyInfo(name=name))
        for trial in "012":
            tracker.start_trial(trial, params={"width": 8}, genome=f"g{trial}")
            tracker.finish_trial(trial, TrialState.COMPLETE, metrics={"accuracy": 0.9})
    return read_study(name, tracking_uri=store)


@pytest.fixture
def make(study: StudyRecord, tmp_path: Path) -> Make:
    """A model of two inputs, one of them a mask: logit = sum(clip · w, where not masked) + trial."""

    def candidate(trial: str, *, aliases: tuple[str, ...] = (), card: str = "# a card") -> Candidate:
        path = tmp_path / f"{trial}.onnx"
        onnx.save(_graph(float(trial)), path)
        example = {"clip": np.full((1, 4), 0.5, np.float32), "mask": np.array([[False, True, False, False]])}
        run_id = study.trials.set_index("trial").loc[trial, "run_id"]
        return Candidate(
            run_id=run_id, trial=trial, onnx=path, sha256=f"sha{trial}", example=example, card=card, aliases=aliases,
            metrics={"accuracy": 0.9, "latency_ms": 1.5}, params={"width": "8"},
        )  # fmt: skip

    return candidate


def _graph(bias: float) -> onnx.ModelProto:
    weights = np.arange(1, 5, dtype=np.float32)[:, None]
    constants = {"w": weights, "zero": np.zeros(1, np.float32), "b": np.array([bias], np.float32)}
    nodes = [
        helper.make_node("Where", ["mask", "zero", "clip"], ["kept"]),
        helper.make_node("MatMul", ["kept", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["logit"]),
    ]
    inputs = [
        helper.make_tensor_value_info("clip", TensorProto.FLOAT, ["batch", 4]),
        helper.make_tensor_value_info("mask", TensorProto.BOOL, ["batch", 4]),
    ]
    output = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["batch", 1])
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_registering_twice_leaves_what_registering_once_does(store: str, study: StudyRecord, make: Make) -> None:
    client = open_client(store)
    name = study.name
    before = client.get_run(study.trials.loc[0, "run_id"]).info
    first = register(study, [make("0", aliases=("knee",)), make("1", aliases=("fastest",))], name=name, description="A front.")
    assert [(entry.version, entry.created) for entry in first] == [("1", True), ("2", True)]
    again = register(study, [make("0", aliases=("knee",)), make("1", aliases=("fastest",))], name=name, description="A front.")
    assert [(entry.version, entry.created) for entry in again] == [("1", False), ("2", False)]
    after = client.get_run(before.run_id)
    assert (after.info.status, after.info.end_time) == (before.status, before.end_time)  # registering opens no run again
    assert after.data.metrics["accuracy"] == 0.9
    version = client.get_model_version_by_alias(name, "knee")
    assert (str(version.version), version.description, version.run_id) == ("1", "# a card", before.run_id)
    assert version.tags["paretolens.knee"] == version.tags["paretolens.pareto"] == "true"
    assert float(version.tags["accuracy"]) == 0.9
    assert client.get_registered_model(name).description == "A front."
    (model,) = client.search_logged_models([study.experiment_id], f"source_run_id = '{before.run_id}'")
    assert {metric.key: metric.value for metric in model.metrics} == {"accuracy": 0.9, "latency_ms": 1.5}
    assert model.params == {"width": "8"}


def test_aliases_follow_the_front_and_old_versions_stay(store: str, study: StudyRecord, make: Make) -> None:
    client, name = open_client(store), study.name
    register(study, [make("0", aliases=("knee", "fastest")), make("1")], name=name)
    register(study, [make("1", card="# another"), make("2", aliases=("knee",))], name=name)
    assert client.get_model_version_by_alias(name, "knee").tags["paretolens.trial"] == "2"
    versions = {version.tags["paretolens.trial"]: version for version in client.search_model_versions(f"name = '{name}'")}
    assert {trial: version.tags["paretolens.pareto"] for trial, version in versions.items()} == {
        "0": "false",
        "1": "true",
        "2": "true",
    }
    assert versions["1"].description == "# another"
    one = make("2", aliases=("knee",))
    register(study, [one], name=name, members=study.trials["run_id"].iloc[1:].tolist())
    tags = {v.tags["paretolens.trial"]: v.tags["paretolens.pareto"] for v in client.search_model_versions(f"name = '{name}'")}
    assert tags == {"0": "false", "1": "true", "2": "true"}  # a part of the front was registered, the rest is still on it


def test_a_version_carries_the_twin_and_an_older_one_finds_it_with_its_run(
    store: str, study: StudyRecord, make: Make, tmp_path: Path
) -> None:
    twin = tmp_path / "twin-of-ours"
    twin.mkdir()
    for name in ("model.json", "model.safetensors"):
        (twin / name).write_text(f"our {name}")
    register(study, [replace(make("0", aliases=("knee",)), twin=twin), make("1", aliases=("fastest",))], name=study.name)
    register(study, [replace(make("1", aliases=("fastest",)), twin=twin)], name=study.name)  # it was there without one
    for alias in ("knee", "fastest"):
        place = tmp_path / alias
        place.mkdir()
        fetch_twin(f"models:/{study.name}@{alias}", place, tracking_uri=store)
        assert (place / "model.json").read_text() == "our model.json"


def test_loaded_by_its_alias_it_says_what_the_file_says(store: str, study: StudyRecord, make: Make) -> None:
    candidate = make("2", aliases=("knee",))
    register(study, [candidate], name=study.name)
    mlflow.set_tracking_uri(store)
    clips = {"clip": np.random.default_rng(0).random((3, 4), np.float32), "mask": np.zeros((3, 4), bool)}
    expected = onnxruntime.InferenceSession(candidate.onnx).run(["logit"], clips)[0]
    proto = mlflow.onnx.load_model(f"models:/{study.name}@knee")
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    np.testing.assert_array_equal(session.run(["logit"], clips)[0], expected)
    served = mlflow.pyfunc.load_model(f"models:/{study.name}@knee")
    np.testing.assert_array_equal(served.predict(clips)["logit"], expected)
    schema = {spec.name: (spec.type, spec.shape) for spec in served.metadata.signature.inputs}
    assert schema == {"clip": (np.dtype("float32"), (-1, 4)), "mask": (np.dtype("bool"), (-1, 4))}
    assert [spec.name for spec in served.metadata.signature.outputs] == ["logit"]
    example = served.input_example
    np.testing.assert_array_equal(example["clip"], candidate.example["clip"])
    with pytest.raises(mlflow.MlflowException, match="mask"):
        served.predict({"clip": clips["clip"]})


def test_names_that_are_taken_or_impossible(store: str, study: StudyRecord, make: Make) -> None:
    client = open_client(store)
    client.create_registered_model(f"somebody-{study.run_id}")
    with pytest.raises(ConfigurationError, match="is none of ours; choose another with --model-name"):
        register(study, [make("0")], name=f"somebody-{study.run_id}")
    register(study, [make("0")], name=study.name)
    other = StudyRecord(**{**vars(study), "run_id": "f" * 32, "name": "other"})
    with pytest.raises(ConfigurationError, match=f"belongs to study {study.name}"):
        register(other, [make("0")], name=study.name)
    for name in ("a/b", "a:b", "it's", 'a"b', " ", "a" * 300):
        with pytest.raises(ConfigurationError, match="model name"):
            register(study, [make("0")], name=name)


def test_a_file_that_does_not_run_is_not_registered(store: str, study: StudyRecord, make: Make) -> None:
    candidate = make("0")
    candidate.onnx.write_bytes(b"not a model")
    with pytest.raises(BackendError, match=r"0\.onnx: can't be run"):
        register(study, [candidate], name=study.name)
    assert open_client(store).search_model_versions(f"name = '{study.name}'") == []


@pytest.mark.slow
def test_served_over_http_it_says_what_the_file_says(store: str, study: StudyRecord, make: Make, tmp_path: Path) -> None:
    candidate, port = make("1", aliases=("knee",)), free_port()
    register(study, [candidate], name=study.name)
    clips = {"clip": np.random.default_rng(1).random((2, 4), np.float32), "mask": np.eye(2, 4, dtype=bool)}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{study.name}@knee", "--env-manager", "local"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow starts uvicorn by its name
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": store, "MLFLOW_REGISTRY_URI": store},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            answer = _post(f"http://127.0.0.1:{port}", {name: value.tolist() for name, value in clips.items()})
        finally:
            os.killpg(process.pid, 15)
    expected = onnxruntime.InferenceSession(candidate.onnx).run(["logit"], clips)[0]
    np.testing.assert_allclose(answer["predictions"]["logit"], expected, rtol=1e-6)


def _post(address: str, inputs: dict[str, object]) -> dict[str, dict[str, object]]:
    """Wait for the server, then ask it."""
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=2):
                break
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, "the server didn't come up"
            time.sleep(0.2)
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps({"inputs": inputs}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        content: dict[str, dict[str, object]] = json.load(answer)
    return content
