"""Three classes from generated pictures to a bundle, small but real: teacher, maps, a trial, its file, what predict.py says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from paretolens.errors import ConfigurationError
from paretolens.exporters.batch import judge_folder
from paretolens.exporters.bundle import BundleContent, Objective, verify_bundle, write_bundle
from paretolens.exporters.predict_pictures_template import PicturePredictor
from paretolens.exporters.runner import OnnxRunner
from paretolens.search.config import Config, load_config
from paretolens.search.finish import _exported, _sample
from paretolens.search.outcome import TrialOutcome
from paretolens.search.progress import Silent
from paretolens.search.task import Task
from paretolens.search.trial import run_trial
from paretolens.search.workspace import Workspace

CLASSES = ("real", "blend", "mouth")
SET = [
    "data={train: 32, val: 24, test: 16, unseen: 8, pictures_per_identity: 4, size: 32, classes: [real, blend, mouth]}",
    "model={size: 32, teacher: {multiplier: 0.25}}",
    "teacher={epochs: 1}",
    "student={distill: {epochs: 1}, repair: {epochs: 1}, qat: {epochs: 1}}",
    "space={input_size: [32], network: [resnet18], multiplier: [0.125]}",
    "eps={samples: 6, nodes: 2, resamples: 100, population: all}",
    "latency={runs: 5, min_runs: 5, seconds: 1}",
    "proxy={clips: 2}",
    "first=[]",
]


def config_of(*more: str) -> Config:
    return load_config(preset="image-classifier-quick", assignments=[*SET, *more], flags={})


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    config, workspace = config_of(), Workspace.at(tmp_path_factory.mktemp("classes") / "runs")
    config.make_source().prepare(config.make_data_settings(), workspace.cache, workers=1)
    return Task.prepare(config, workspace, Silent())


@pytest.fixture(scope="module")
def trial(task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialOutcome, Path]:
    folder = tmp_path_factory.mktemp("trial") / "one"
    genome = task.space.repair({**task.space.default(), "network": "resnet18", "prune_ratio": 0.0, "qat": True})
    return run_trial(genome, task, folder, lambda _: None), folder


@pytest.fixture(scope="module")
def bundle(task: Task, trial: tuple[TrialOutcome, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    artefact, parity, patches = _exported(trial[1])
    val = task.samples["val"]
    content = BundleContent(
        name="classes",
        summary="A tiny student.",
        artefact=artefact,
        signature=task.signature,
        preprocessing=val.preprocessing,
        objectives={"accuracy": Objective(value=0.5)},
        parity=parity,
        patches=patches,
        sample=_sample(val),
        labels=task.signature.classes,
    )
    return write_bundle(tmp_path_factory.mktemp("bundles") / "bundle", content)


def scores_of(file: Path, task: Task, split: str) -> np.ndarray:
    samples = task.samples[split]
    return OnnxRunner(file).run({"image": samples.batch(slice(0, len(samples)))[0].numpy()})["logit"]


def test_teacher_student_and_file_tell_the_same_classes(task: Task, trial: tuple[TrialOutcome, Path]) -> None:
    outcome, folder = trial
    assert task.signature.classes == CLASSES
    assert task.val_logits.shape == (24, 3)
    scores = scores_of(folder / "model.onnx", task, "val")
    labels = task.samples["val"].labels
    assert scores.shape == (24, 3)
    assert outcome.details["precision"] == "int8"
    assert outcome.metrics["accuracy"] == pytest.approx((scores.argmax(1) == labels).mean())
    assert outcome.metrics["agreement"] == pytest.approx((scores.argmax(1) == task.val_logits.argmax(1)).mean())
    p = softmax(scores.astype(np.float64), axis=1)
    assert outcome.metrics["log_loss"] == pytest.approx(-np.log(p[np.arange(24), labels.astype(int)]).mean(), rel=1e-5)
    assert {f"test_auc_{name}" for name in CLASSES} <= outcome.metrics.keys()
    assert -0.5 <= outcome.values["eps"] <= 1.0
    assert list((folder / "overlays").glob("*.png"))


def test_the_bundle_says_class_and_probabilities(task: Task, trial: tuple[TrialOutcome, Path], bundle: Path) -> None:
    manifest = verify_bundle(bundle)
    assert manifest["labels"] == list(CLASSES)
    assert manifest["decision"] == {"output": "logit", "rule": "largest"}
    assert "one of `real`, `blend`, `mouth`" in (bundle / "README.md").read_text()
    pictures = task.config.make_source().place(task.config.make_data_settings(), task.workspace.cache) / "test"
    command = [sys.executable, str(bundle / "predict.py"), "--json", str(pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    found = {Path(result["file"]).stem: result for result in results}
    expected = softmax(scores_of(bundle / "model.onnx", task, "test").astype(np.float64), axis=1)
    for name, row in zip(task.samples["test"].ids, expected, strict=True):
        result = found[Path(name).stem]
        assert list(result["probabilities"]) == list(CLASSES)
        assert list(result["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-4)
        assert result["probability"] == max(result["probabilities"].values())
        assert result["logit"] == pytest.approx(np.log(row.max() / (1 - row.max())), abs=1e-3)


def test_a_table_has_a_column_for_each_class(task: Task, bundle: Path, tmp_path: Path) -> None:
    pictures = task.config.make_source().place(task.config.make_data_settings(), task.workspace.cache) / "test"
    judge_folder(PicturePredictor(bundle), pictures, tmp_path / "t.csv", update=lambda *_: None)
    table = pd.read_csv(tmp_path / "t.csv")
    shares = table[[f"p({name})" for name in CLASSES]]
    assert shares.sum(axis=1).tolist() == pytest.approx([1.0] * 16)
    assert [CLASSES[index] for index in shares.to_numpy().argmax(1)] == table["verdict"].tolist()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["data.classes=[blend, mouth]"], "generated pictures must be blend, mouth and real"),
        (["model.classes=[a, b]"], "data.classes is real, blend, mouth, and the models of family image-classifier tell a, b"),
        (["model.teacher.arguments={num_classes: 10}"], r"num_classes is 10: 3 classes need 3"),
        (["eps.explainer=patch_logits"], r"is patch_logits, which explains models of one logit"),
        (["eps.second=patch_logits"], r"is patch_logits, which explains models of one logit"),
    ],
)
def test_what_does_not_fit_classes_is_told_at_once(more: list[str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        config_of(*more)


def test_families_of_one_logit_and_sets_without_real_samples_are_told(tmp_path: Path) -> None:
    folder = f"data={{source: folder, path: {tmp_path}, take: pictures, size: 96, classes: [cat, dog, owl]}}"
    with pytest.raises(ConfigurationError, match=r"eps\.baseline is real, .* no class of cat, dog, owl is real"):
        load_config(preset="image-classifier-quick", assignments=[folder], flags={})
    found = load_config(preset="image-classifier-quick", assignments=[folder, "eps.baseline=mean"], flags={})
    assert found.make_model_settings().classes == ("cat", "dog", "owl")
    pictures = "data={source: generated-pictures, size: 96, classes: [real, blend, mouth]}"
    with pytest.raises(ConfigurationError, match=r"data\.classes is real, blend, mouth, and the models of family ladeda tell"):
        load_config(preset="ladeda-quick", assignments=[pictures], flags={})
