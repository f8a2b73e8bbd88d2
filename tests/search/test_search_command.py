"""A whole study through the command line, small but real: search, front, export, predict, resume, and the faults in between."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import open_client
from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate, TrialRecord

Call = Callable[..., Any]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TINY = """
data: {train: 24, val: 16, test: 8, unseen: 8, clips_per_identity: 4, frames: 4, min_frames: 4, size: 48}
model: {frames: 4, frame_size: 48, audio_frames: 40, teacher: {backbone_width: 0.25, width: 32, depth: 1, heads: 4}}
teacher: {epochs: 1}
student: {distill: {epochs: 1}, repair: {epochs: 1}, qat: {epochs: 1}}
space: {width: [32], depth: [1], frames: [4], frame_size: [32, 48], backbone: [resnet18, mobilenet_v3_small]}
eps: {samples: 6, nodes: 4, resamples: 100, population: all}
latency: {runs: 8, min_runs: 4, seconds: 0.5}
search: {workers: 1}
cache: {stages: false}
first:
  - {backbone: resnet18, backbone_width: 0.125, prune_ratio: 0.4, qat: true}
  - {backbone: mobilenet_v3_small, backbone_width: 0.25, prune_ratio: 0.0, qat: false}
"""
URI = "sqlite:///{}/mlflow.db"


class Ground(NamedTuple):
    workspace: Path
    config: Path


class Cut(NamedTuple):
    """A session that a signal ended."""

    said: str
    code: int
    drawn: bool
    """Whether it left the picture of a partial front."""


class Story(NamedTuple):
    """A study of three trials in three sessions."""

    folder: Path
    uri: str
    cuts: dict[signal.Signals, Cut]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("study")
    config = folder / "tiny.yaml"
    config.write_text(TINY)
    return Ground(folder / "runs", config)


def session(ground: Ground, *flags: str) -> "subprocess.Popen[str]":
    """A program of its own, in a process group of its own."""
    command = [sys.executable, "-u", "-m", "paretolens.search.cli", "search", "--name", "tiny", "--trials", "3", *flags]
    command += ["--config", str(ground.config), "--workspace", str(ground.workspace)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def cut(ground: Ground, number: signal.Signals, moment: str, *flags: str) -> Cut:
    """Search until a line begins with `moment`, then signal the whole process group in the midst of the next trial, as a
    terminal and `timeout` do."""
    process = session(ground, *flags)
    assert process.stdout is not None
    folder, said = ground.workspace / "studies" / "tiny", ""
    for line in process.stdout:
        said += line
        if line.startswith(moment):
            while process.poll() is None and all(entry.fate is not None for entry in read_records(folder)):
                time.sleep(0.1)
            os.killpg(process.pid, number)
            break
    rest, _ = process.communicate(timeout=300)
    front = folder / "front.json"
    drawn = front.exists()
    front.unlink(missing_ok=True)
    return Cut(said + rest, process.returncode, drawn)


@pytest.fixture(scope="module")
def story(ground: Ground) -> Story:
    """Interrupted twice, each time with a trial under way, and gone on with to its end."""
    cuts = {
        signal.SIGINT: cut(ground, signal.SIGINT, "[1/3]"),
        signal.SIGTERM: cut(ground, signal.SIGTERM, "[2/3]", "--resume"),
    }
    last = session(ground, "--resume")
    said, _ = last.communicate(timeout=400)
    assert last.returncode == 0, "\n".join([*(found.said for found in cuts.values()), said])
    return Story(ground.workspace / "studies" / "tiny", URI.format(ground.workspace), cuts)


@pytest.fixture(scope="module")
def study(story: Story) -> Path:
    return story.folder


@pytest.fixture(scope="module")
def call(paretolens: Call, ground: Ground) -> Call:
    """The command line on the study's workspace."""
    return lambda *arguments: paretolens(*arguments, "--workspace", str(ground.workspace))


def evaluated(study: Path) -> list[TrialRecord]:
    return [entry for entry in read_records(study) if entry.fate is Fate.EVALUATED]


def rounded(study: Path) -> TrialRecord:
    """The trial that was pruned and quantised."""
    return next(entry for entry in evaluated(study) if entry.genome["qat"] and entry.genome["prune_ratio"] == 0.4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_of_the_whole_group_leaves_a_partial_front_and_says_how_to_go_on(
    story: Story, number: signal.Signals
) -> None:
    found = story.cuts[number]
    assert found.code == 128 + number, found.said
    assert "--resume" in found.said
    assert found.drawn, found.said


def test_what_was_interrupted_is_evaluated_once_in_the_end(study: Path) -> None:
    records = read_records(study)
    keys = [entry.key for entry in records if entry.fate is Fate.EVALUATED]
    owed = [entry.key for entry in records if entry.fate is Fate.INTERRUPTED]
    assert len(keys) == len(set(keys)) == 3
    assert owed
    assert set(owed) <= set(keys)


def test_every_trial_is_in_the_journal_and_in_mlflow_with_the_same_figures(study: Path, story: Story) -> None:
    records = evaluated(study)
    stored = read_study("tiny", tracking_uri=story.uri).trials.set_index("trial")
    assert len(records) == 3
    for entry in records:
        row = stored.loc[f"trial-{entry.number:04d}"]
        assert row["state"] == "complete"
        for name, value in entry.values.items():
            assert row[name] == pytest.approx(value)


def test_data_sets_system_metrics_and_the_registered_front_are_in_the_store(story: Story) -> None:
    record = read_study("tiny", tracking_uri=story.uri)
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


def test_explanations_are_watched_after_every_epoch(story: Story) -> None:
    trials = read_study("tiny", tracking_uri=story.uri).trials.set_index("trial")
    run_id = str(trials.loc[f"trial-{rounded(story.folder).number:04d}", "run_id"])
    curve = open_client(story.uri).get_metric_history(run_id, "epoch/progress_eps")
    assert len(curve) == 3  # distilled, repaired and trained under quantisers for an epoch each
    assert all(-0.5 <= point.value <= 1.0 for point in curve)


def test_pruned_and_quantised_trial_ships_int8_and_lost_parameters(study: Path) -> None:
    first = rounded(study)
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
    entry = evaluated(study)[0]
    session = onnxruntime.InferenceSession(str(Path(entry.details["folder"]) / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in val.signature.inputs]
    inputs = {name: x.numpy() for name, x in zip(names, val.batch(slice(0, len(val))), strict=True)}
    logits = session.run(["logit"], inputs)[0][:, 0]
    assert entry.values["accuracy"] == pytest.approx(float(np.mean((logits > 0) == (val.labels > 0.5))))


def test_front_is_written_and_shown_again(study: Path, call: Call, tmp_path: Path) -> None:
    assert (study / "front.png").stat().st_size > 10_000
    assert "<html" in (study / "front.html").read_text()[:500].lower()
    done = call("front", "tiny", "--json", str(tmp_path / "front.json"))
    assert done.returncode == 0, done.stderr
    shown, written = json.loads((tmp_path / "front.json").read_text()), json.loads((study / "front.json").read_text())
    assert [row["trial"] for row in shown["front"]] == [row["trial"] for row in written["front"]]


def test_bundle_predicts_and_a_changed_byte_is_refused(
    study: Path, ground: Ground, call: Call, paretolens: Call, tmp_path: Path
) -> None:
    done = call("export", "tiny", "--select", "fastest", "--out", str(tmp_path))
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


def test_retargeting_measures_again_and_leaves_the_objectives(story: Story, call: Call) -> None:
    def stored() -> pd.DataFrame:
        trials = read_study("tiny", tracking_uri=story.uri).trials.set_index("trial")
        return trials[trials["state"] == "complete"]

    before = stored()
    command = ("retarget", "tiny", "--device", "onnxruntime-cpu", "--threads", "2", "--runs", "20")
    done = call(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "front members stay" in done.stdout
    first, name = stored(), "on_onnxruntime_cpu_2t_p50_ms"
    assert (first[name] > 0).all()
    for objective in ("accuracy", "latency_ms", "eps"):
        assert first[objective].tolist() == before[objective].tolist()
    assert call(*command).returncode == 0
    assert stored()[name].tolist() == first[name].tolist(), "what has figures is not measured again"


def test_members_are_judged_by_their_own_evidence(story: Story) -> None:
    found = read_study("tiny", tracking_uri=story.uri)
    members = found.trials[found.trials["pareto"] == "true"]
    assert len(members)
    for row in members.to_dict("records"):
        assert 0.0 <= row["pointing_hit"] <= 1.0
        assert 0.0 < row["pointing_chance"] < 1.0
        assert row["pointing_hit_untrained"] == found.metrics["pointing_hit_untrained"]
    assert 0.0 <= found.teacher["pointing_hit"] <= 1.0


def test_metric_is_validated_once_and_its_reference_kept_with_the_study(story: Story, ground: Ground, call: Call) -> None:
    done = call("validate-eps", "tiny", "--clips", "4")
    assert done.returncode == ("FAILED" in done.stdout), done.stderr  # two epochs of a tiny teacher need not pass all of them
    assert sum(done.stdout.count(verdict) for verdict in ("passed", "FAILED", "not judged")) >= 10
    metrics = read_study("tiny", tracking_uri=story.uri).metrics
    assert metrics["eps_reference_low"] <= metrics["eps_reference"] <= metrics["eps_reference_high"]
    kept = {path: path.stat().st_mtime_ns for path in (ground.workspace / "cache" / "validation").rglob("*.json")}
    verdicts = {path.stem: json.loads(path.read_text()).get("passed") for path in kept}
    assert verdicts["ties"] is verdicts["identity"] is True  # what holds for any model
    again = call("validate-eps", "tiny", "--clips", "4")
    assert again.returncode == done.returncode
    assert "2 trained; scored now" in done.stdout
    assert "2 kept from before and not trained again; scores kept too" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len([path for path in kept if not path.name.startswith("cascade-")]) == 9
    refused = call("validate-eps", "tiny", "--references", "1")
    assert refused.returncode == 2
    assert "--references: '1': give 0 or at least 2" in refused.stderr


def test_a_name_that_exists_or_another_configuration_is_refused(study: Path, ground: Ground, call: Call) -> None:
    again = call("search", "--name", "tiny", "--config", str(ground.config))
    assert (again.returncode, "add --resume" in again.stderr) == (2, True)
    other = call("search", "--name", "tiny", "--resume", "--config", str(ground.config), "--set", "seed=5")
    assert (other.returncode, "seed was 0, now 5" in other.stderr) == (2, True)


def test_damaged_teacher_is_named_and_nothing_is_lost(study: Path, ground: Ground, call: Call) -> None:
    weights = {path: path.read_bytes() for path in (ground.workspace / "cache" / "teachers").glob("*/model.safetensors")}
    for path, sound in weights.items():
        path.write_bytes(sound[:-8] + b"\x01" * 8)
    try:
        done = call("search", "--name", "tiny", "--resume", "--trials", "9")
    finally:
        for path, sound in weights.items():
            path.write_bytes(sound)
    assert done.returncode == 2
    assert "model.safetensors" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
