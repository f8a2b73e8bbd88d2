"""`paretolens bench`."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from paretolens.search.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A matrix product of a dynamic batch."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [64, 64], [0.01] * 4096)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 64]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def test_every_batch_has_its_figures(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", str(model), "--runs", "40", "--batch", "1,8", "--backend", "onnxruntime"]
    assert main([*command, "--json", "--workspace", str(tmp_path / "runs")]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["batch"] for row in rows] == [1, 8]
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert row["runs"] == 40
        assert row["samples_per_s"] == pytest.approx(row["batch"] / row["p50_ms"] * 1e3)
        assert 0 <= row["model_mb"] < row["process_mb"]
        assert {*row["joules_per_sample"], *row["energy_missing"]} == {"RAPL", "tegrastats"}, "of the processor, which runs it"
        assert row["runtime"].startswith("onnxruntime ")


@pytest.mark.parametrize(
    ("name", "message"), [("none.onnx", "no such file or bundle"), ("model.pt", "ends in .onnx, .tflite or .engine")]
)
def test_what_cannot_be_measured_is_one_line(tmp_path: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.pt").write_bytes(b"x")
    assert main(["bench", str(tmp_path / name), "--workspace", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_an_engine_is_refused_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"x")
    assert main(["bench", str(path), "--workspace", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert "model.engine: cannot run here: " in error
    assert "run it on the device it was built for" in error
    assert main(["bench", str(path), "--backend", "onnxruntime", "--workspace", str(tmp_path / "runs")]) == 2
    assert "TensorRT alone runs it" in capsys.readouterr().err
