"""A cascade whose stages run one after the other gives what its one file gives."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from paretolens.exporters.cascade import join_stages
from paretolens.exporters.runner import OnnxRunner
from paretolens.search.cascade import STAGES, Run, judged


def stage(weight: float) -> onnx.ModelProto:
    """The weighted sum of two numbers."""
    tensors = [numpy_helper.from_array(np.full((2, 1), weight, np.float32), "w")]
    ends = [helper.make_tensor_value_info("x", 1, ["n", 2]), helper.make_tensor_value_info("logit", 1, ["n", 1])]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["logit"])], "stage", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("reach", [0.1, 3.0])
def test_stages_give_what_the_whole_gives(tmp_path: Path, reach: float) -> None:
    for number, weight in ((1, 1.0), (2, -7.0)):
        onnx.save(stage(weight), tmp_path / f"stage-{number}.onnx")
    onnx.save(join_stages(stage(1.0), stage(-7.0), low=-0.5, high=0.5), tmp_path / "model.onnx")
    x = np.random.default_rng(0).uniform(-reach, reach, (50, 2)).astype(np.float32)
    whole = OnnxRunner(tmp_path / "model.onnx").run({"x": x})["logit"].reshape(-1)
    opened: list[str] = []

    def open_file(path: Path) -> Run:
        opened.append(path.name)
        return OnnxRunner(path).run

    np.testing.assert_allclose(judged(tmp_path, open_file, {"x": x}), whole)
    (tmp_path / STAGES).write_text(json.dumps({"passed_on": 0.5}))
    np.testing.assert_allclose(judged(tmp_path, open_file, {"x": x}), whole, rtol=1e-5)
    assert opened == ["model.onnx", "stage-1.onnx", "stage-2.onnx"]
