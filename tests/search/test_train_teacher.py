"""A teacher that is trained ahead is the one that a search finds."""

from pathlib import Path

import pytest

from paretolens.search.cli.main import main
from paretolens.search.config import load_config
from paretolens.search.samples import prepared
from paretolens.search.task import trained_teacher
from paretolens.search.workspace import Workspace

TINY = """
family: image-classifier
data: {source: generated-pictures, train: 16, val: 12, test: 8, unseen: 4, pictures_per_identity: 4, size: 32}
model: {size: 32, teacher: {network: resnet18, multiplier: 0.125}}
space: {input_size: [32], network: [resnet18], multiplier: [0.125]}
teacher: {epochs: 3, batch_size: 8, patience: 2, precision: bfloat16}
student: {distill: {batch_size: 8}, repair: {batch_size: 8}, qat: {batch_size: 8}}
"""


def test_the_search_finds_the_teacher_that_was_trained_ahead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, runs = tmp_path / "tiny.yaml", tmp_path / "runs"
    file.write_text(TINY)
    assert main(["train-teacher", "--config", str(file), "--workspace", str(runs)]) == 0
    said = capsys.readouterr().out
    assert "average_precision" in said
    assert "AUC of blend" in said
    told: list[tuple[int, int]] = []
    config, workspace = load_config(file=file, flags={}), Workspace.at(runs)
    folder = trained_teacher(config, workspace, prepared(config, workspace), lambda done, total, note: told.append((done, total)))
    assert told == []  # nothing was left to train
    assert str(folder) in said.replace("\n", "")


def test_a_precision_that_the_device_lacks_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY.replace("precision: bfloat16", "precision: float16"))
    assert main(["train-teacher", "--config", str(file), "--workspace", str(tmp_path / "runs")]) == 2
    assert "precision float16 needs a GPU" in capsys.readouterr().err
