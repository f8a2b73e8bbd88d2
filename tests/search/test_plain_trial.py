"""benchmarks/bench_search/plain.py on the tiny task: the plain recipe ships what the engine ships."""

import sys
from pathlib import Path

import onnx
import pytest

from paretolens.search.task import Task

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("rounded", [True, False])
def test_the_plain_trial_exports_the_precision_that_the_genome_asks_for(
    rounded: bool, tiny_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from bench_search.plain import PlainTrial

    wishes = {**tiny_task.space.default(), "backbone": "resnet18", "backbone_width": 0.125, "prune_ratio": 0.0, "qat": rounded}
    figures = PlainTrial(tiny_task, captum_steps=4)(tiny_task.space.repair(wishes), tmp_path)
    operators = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert ("QuantizeLinear" in operators or "DequantizeLinear" in operators) is rounded
    assert figures["int8"] == rounded
    assert figures["latency_ms"] > 0
    assert 0 <= figures["accuracy"] <= 1
    assert -1 <= figures["eps"] <= 1
