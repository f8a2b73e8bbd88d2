"""A whole study through the command line, small but real: search, front, export, predict, resume, and the faults in between."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import open_client
from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TINY = """
data: {train: 32, val: 24, test: 16, unseen: 8, clips_per_identity: 4}
model: {teacher: {backbone_width: 0.25, width: 32, depth: 1, heads: 4}}
teacher: {epochs: 1}
student:
  distill: {epochs: 1}
  repair: {epochs: 1}
  qat: {epochs: 1}
space: {width: [32], depth: [1], frames: [4], frame_size: [32, 48], backbone: [resnet18, mobilenet_v3_small]}
eps: {samples: 6, nodes: 4, resamples: 200, population: all}
latency: {runs: 12, min_runs: 5, seconds: 1}
first:
  - {backbone: resnet18, backbone_width: 0.125, prune_ratio: 0.4, qat: true}
  - {backbone: mobilenet_v3_small, backbone_width: 0.25, prune_ratio: 0.0, qat: false}
"""


class Ground(NamedTuple):
    workspace: Path
    config: Path


def paretolens(*arguments: str, ground: Ground | None = None) -> subprocess.CompletedProcess[str]:
    place = [] if ground is None else ["--workspace", str(ground.workspace)]
    command = [sys.executable, "-m", "paretolens.search.cli", *arguments, *place]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("study")
    config = folder / "tiny.yaml"
    config.write_text(TINY)
    yield Ground(folder / "runs", config)


@pytest.fixture(scope="module")
def study(ground: Ground) -> Path:
    done = paretolens("search", "--name", "tiny", "--trials", "3", "--config", str(ground.config), ground=ground)
    assert done.returncode == 0, done.stdout + done.stderr
    return ground.workspace / "studies" / "tiny"


def test_every_trial_is_in_the_journal_and_in_mlflow_with_the_same_figures(study: Path, ground: Ground) -> None:
    records = [entry for entry in read_records(study) if entry.fate is Fate.EVALUATED]
    stored = read_study("tiny", tracking_uri=f"sqlite:///{ground.workspace}/mlflow.db").trials.set_index("trial")
    assert len(records) == 3
    for entry in records:
        row = stored.loc[f"trial-{entry.number:04d}"]
        assert row["state"] == "complete"
        for name, value in entry.values.items():
            assert row[name] == pytest.approx(value)


def test_data_sets_system_metrics_and_the_registered_front_are_in_the_store(study: Path, ground: Ground) -> None:
    record = read_study("tiny", tracking_uri=f"sqlite:///{ground.workspace}/mlflow.db")
    client = open_client(record.tracking_uri)
    parent = client.get_run(record.run_id)
    assert {one.tags[0].value for one in parent.inputs.dataset_inputs} == {"train", "val", "test", "unseen"}
    assert record.tags["paretolens.latency_device"]
    assert any(name.startswith("system/") for name in parent.data.metrics)
    trial = client.get_run(record.trials.loc[0, "run_id"])
    assert trial.data.metrics["system/process_memory_megabytes"] > 100
    version = client.get_model_version_by_alias("tiny", "knee")
    knee = record.trials[record.trials["knee"] == "true"]
    assert version.run_id == knee["run_id"].item()


def test_explanations_are_watched_after_every_epoch(study: Path, ground: Ground) -> None:
    uri = f"sqlite:///{ground.workspace}/mlflow.db"
    trials = read_study("tiny", tracking_uri=uri).trials.set_index("trial")
    first = next(entry for entry in read_records(study) if entry.genome["qat"] and entry.genome["prune_ratio"] == 0.4)
    run_id = str(trials.loc[f"trial-{first.number:04d}", "run_id"])
    curve = open_client(uri).get_metric_history(run_id, "epoch/progress_eps")
    assert len(curve) == 3  # distilled, repaired and trained under quantisers for an epoch each
    assert all(-0.5 <= point.value <= 1.0 for point in curve)


def test_pruned_and_quantised_trial_ships_int8_and_lost_parameters(study: Path) -> None:
    first = next(entry for entry in read_records(study) if entry.genome["qat"] and entry.genome["prune_ratio"] == 0.4)
    folder = Path(first.details["folder"])
    assert first.details["precision"] == "int8"
    assert first.metrics["pruned_parameters"] > 0
    assert first.metrics["size_mb"] == pytest.approx((folder / "model.onnx").stat().st_size / 1e6)
    unpruned = [layer for layer in json.loads((folder / "pruning.json").read_text())["layers"] if layer["reason"]]
    assert unpruned


def test_accuracy_is_that_of_the_exported_file(study: Path, ground: Ground) -> None:
    from paretolens.search.study import load_study
    from paretolens.search.workspace import Workspace

    config = load_study(Workspace.at(ground.workspace), "tiny").config
    val = config.make_source().prepare(config.make_data_settings(), ground.workspace / "cache")["val"]
    entry = next(entry for entry in read_records(study) if entry.fate is Fate.EVALUATED)
    session = onnxruntime.InferenceSession(str(Path(entry.details["folder"]) / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in val.signature.inputs]
    inputs = {name: x.numpy() for name, x in zip(names, val.batch(slice(0, len(val))), strict=True)}
    logits = session.run(["logit"], inputs)[0][:, 0]
    assert entry.values["accuracy"] == pytest.approx(float(np.mean((logits > 0) == (val.labels > 0.5))))


def test_front_is_written_and_shown_again(study: Path, ground: Ground, tmp_path: Path) -> None:
    assert (study / "front.png").stat().st_size > 10_000
    assert "<html" in (study / "front.html").read_text()[:500].lower()
    done = paretolens("front", "tiny", "--json", str(tmp_path / "front.json"), ground=ground)
    assert done.returncode == 0, done.stderr
    shown, written = json.loads((tmp_path / "front.json").read_text()), json.loads((study / "front.json").read_text())
    assert [row["trial"] for row in shown["front"]] == [row["trial"] for row in written["front"]]


def test_bundle_predicts_and_a_changed_byte_is_refused(study: Path, ground: Ground, tmp_path: Path) -> None:
    done = paretolens("export", "tiny", "--select", "fastest", "--out", str(tmp_path), ground=ground)
    assert done.returncode == 0, done.stderr
    bundle = next(tmp_path.glob("tiny-*"))
    clip = next((ground.workspace / "cache" / "generated").glob("*/clips/test/*.mp4"))
    said = paretolens("predict", str(bundle), str(clip), "--json")
    assert said.returncode == 0, said.stderr
    verdict = json.loads(said.stdout)
    assert verdict["verdict"] == ("fake" if verdict["logit"] > 0 else "real")
    assert verdict["probability"] == pytest.approx(1 / (1 + math.exp(-verdict["logit"])))
    missing = paretolens("predict", str(bundle), str(tmp_path / "no.mp4"))
    assert missing.returncode == 2
    assert "no.mp4" in missing.stderr
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")
    refused = paretolens("predict", str(bundle), str(clip))
    assert refused.returncode == 2
    assert "model.onnx" in refused.stderr


def test_retargeting_measures_again_and_leaves_the_objectives(study: Path, ground: Ground) -> None:
    def stored() -> pd.DataFrame:
        return read_study("tiny", tracking_uri=f"sqlite:///{ground.workspace}/mlflow.db").trials.set_index("trial")

    before = stored()
    command = ("retarget", "tiny", "--device", "onnxruntime-cpu", "--threads", "2", "--runs", "20")
    done = paretolens(*command, ground=ground)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "front members stay" in done.stdout
    first, name = stored(), "on_onnxruntime_cpu_2t_p50_ms"
    assert (first[name] > 0).all()
    for objective in ("accuracy", "latency_ms", "eps"):
        assert first[objective].tolist() == before[objective].tolist()
    assert paretolens(*command, ground=ground).returncode == 0
    assert stored()[name].tolist() == first[name].tolist(), "what has figures is not measured again"


def test_members_are_judged_by_their_own_evidence(study: Path, ground: Ground) -> None:
    found = read_study("tiny", tracking_uri=f"sqlite:///{ground.workspace}/mlflow.db")
    members = found.trials[found.trials["pareto"] == "true"]
    assert len(members)
    for row in members.to_dict("records"):
        assert 0.0 <= row["pointing_hit"] <= 1.0
        assert 0.0 < row["pointing_chance"] < 1.0
        assert row["pointing_hit_untrained"] == found.metrics["pointing_hit_untrained"]
    assert 0.0 <= found.teacher["pointing_hit"] <= 1.0


def test_metric_is_validated_once_and_its_reference_kept_with_the_study(study: Path, ground: Ground) -> None:
    done = paretolens("validate-eps", "tiny", "--clips", "4", ground=ground)
    assert done.returncode in (0, 1), done.stderr
    assert sum(done.stdout.count(verdict) for verdict in ("passed", "FAILED", "not judged")) >= 10
    uri = f"sqlite:///{ground.workspace}/mlflow.db"
    metrics = read_study("tiny", tracking_uri=uri).metrics
    assert metrics["eps_reference_low"] <= metrics["eps_reference"] <= metrics["eps_reference_high"]
    kept = {path: path.stat().st_mtime_ns for path in (ground.workspace / "cache" / "validation").rglob("*.json")}
    again = paretolens("validate-eps", "tiny", "--clips", "4", ground=ground)
    assert again.returncode == done.returncode
    assert "2 trained; scored now" in done.stdout
    assert "2 kept from before and not trained again; scores kept too" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len([path for path in kept if not path.name.startswith("cascade-")]) == 9
    refused = paretolens("validate-eps", "tiny", "--references", "1", ground=ground)
    assert refused.returncode == 2
    assert "--references: '1': give 0 or at least 2" in refused.stderr


def test_name_that_exists_is_refused_and_resume_goes_on(study: Path, ground: Ground) -> None:
    again = paretolens("search", "--name", "tiny", "--config", str(ground.config), ground=ground)
    assert (again.returncode, "add --resume" in again.stderr) == (2, True)
    other = paretolens("search", "--name", "tiny", "--resume", "--config", str(ground.config), "--set", "seed=5", ground=ground)
    assert (other.returncode, "seed was 0, now 5" in other.stderr) == (2, True)
    more = paretolens("search", "--name", "tiny", "--resume", "--trials", "4", ground=ground)
    assert more.returncode == 0, more.stdout + more.stderr
    evaluated = [entry.key for entry in read_records(study) if entry.fate is Fate.EVALUATED]
    assert len(evaluated) == len(set(evaluated)) == 4


def test_damaged_teacher_is_named_and_nothing_is_lost(study: Path, ground: Ground) -> None:
    weights = {path: path.read_bytes() for path in (ground.workspace / "cache" / "teachers").glob("*/model.safetensors")}
    for path, sound in weights.items():
        path.write_bytes(sound[:-8] + b"\x01" * 8)
    try:
        done = paretolens("search", "--name", "tiny", "--resume", "--trials", "9", ground=ground)
    finally:
        for path, sound in weights.items():
            path.write_bytes(sound)
    assert done.returncode == 2
    assert "model.safetensors" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def _cut(ground: Ground, number: signal.Signals, *, after: int, resume: bool) -> str:
    """Search until `after` trials are evaluated, then signal the whole process group, as a terminal and `timeout` do."""
    command = [sys.executable, "-m", "paretolens.search.cli", "search", "--name", "cut", "--trials", "6"]
    command += ["--config", str(ground.config), "--workspace", str(ground.workspace), *(["--resume"] if resume else [])]
    command += ["--set", "cache.stages=false"]  # else its trials are over before the signal
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ, start_new_session=True
    )
    folder = ground.workspace / "studies" / "cut"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "journal.log").exists() and sum(e.fate is Fate.EVALUATED for e in read_records(folder)) >= after:
            os.killpg(process.pid, number)
            break
        time.sleep(0.3)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 128 + number, said
    return said


def test_interrupts_of_the_whole_group_leave_a_partial_front_and_resume_goes_on(ground: Ground, study: Path) -> None:
    folder = ground.workspace / "studies" / "cut"
    for number, after in ((signal.SIGINT, 1), (signal.SIGTERM, 2)):
        said = _cut(ground, number, after=after, resume=after > 1)
        assert "--resume" in said
        assert (folder / "front.json").exists(), said
        (folder / "front.json").unlink()
    done = paretolens("search", "--name", "cut", "--resume", "--config", str(ground.config), "--trials", "4", ground=ground)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(entry.fate is Fate.EVALUATED for entry in read_records(folder)) == 4
