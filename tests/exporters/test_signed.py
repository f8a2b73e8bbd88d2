"""int8 graphs of a CPU, on the grids that TensorRT takes: the same values where that is possible, half the levels where not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from paretolens.errors import BackendError
from paretolens.exporters.onnx import export_onnx
from paretolens.exporters.runner import OnnxRunner
from paretolens.exporters.signed import sign_activations
from paretolens.exporters.tensorrt import check_operators, flavours, tensorrt_graph
from paretolens.models.registry import build_seeded
from paretolens.models.signature import Signature
from paretolens.trainers.quantise import Placement, QuantiseSettings, freeze, quantise


def chain(zero: np.ndarray | None) -> onnx.ModelProto:
    """x → Q → DQ → y with a step of .1."""
    names = ["step", "zero"] if zero is not None else ["step"]
    constants = [numpy_helper.from_array(np.float32(0.1), "step")]
    constants += [numpy_helper.from_array(zero, "zero")] if zero is not None else []
    nodes = [helper.make_node("QuantizeLinear", ["x", *names], ["q"]), helper.make_node("DequantizeLinear", ["q", *names], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray, tmp_path: Path) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "model.onnx")
    return OnnxRunner(tmp_path / "model.onnx", optimise=False).run({"x": x})["y"]


def test_a_grid_around_128_keeps_every_value(tmp_path: Path) -> None:
    x = np.linspace(-20, 20, 999, dtype=np.float32)
    model = chain(np.uint8(128))
    before = run(model, x, tmp_path)
    found = sign_activations(model)
    assert (found.same, found.coarser) == (2, 0)
    assert {tensor.name: tensor.data_type for tensor in model.graph.initializer}["step/signed128/zero"] == TensorProto.INT8
    np.testing.assert_array_equal(run(model, x, tmp_path), before)


@pytest.mark.parametrize("zero", [np.uint8(0), None])
def test_a_grid_without_a_sign_keeps_its_reach(zero: np.ndarray | None, tmp_path: Path) -> None:
    x = np.linspace(0, 40, 999, dtype=np.float32)
    model = chain(zero)
    assert run(model, x, tmp_path).max() == pytest.approx(25.5)
    assert sign_activations(model).coarser == 2
    after = run(model, x, tmp_path)
    assert after.max() == pytest.approx(25.5)
    inside = x < 25.5
    assert np.abs(after - x)[inside].max() <= 25.5 / 127 / 2 + 1e-5


def test_signed_grids_stay_and_others_are_refused() -> None:
    signed = chain(np.int8(0))
    before = signed.SerializeToString()
    assert sign_activations(signed).same == 0
    assert signed.SerializeToString() == before
    with pytest.raises(BackendError, match=r"zero point must be 0 or 128, got uint8 \[7\]"):
        sign_activations(chain(np.uint8(7)))


@pytest.fixture(scope="module")
def of_a_cpu(signature: Signature, batch_of: Callable[..., tuple[Tensor, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student trained for ONNX Runtime's int8: convolutions, ReLUs, a pool."""
    model = build_seeded(
        "pinpoint", 0, backbone="resnet18", backbone_width=0.125, width=16, depth=1, heads=2, input_frames=4, input_size=32,
        audio_frames=signature.inputs[1].shape[0],
    ).eval()  # fmt: skip
    quantise(model, batch_of(2), QuantiseSettings(placement=Placement.ORT_CPU), batches=[batch_of(4)])
    freeze(model)
    return export_onnx(model, signature, batch_of(2), tmp_path_factory.mktemp("cpu") / "model.onnx").path


def test_a_student_of_a_cpu_goes_to_tensorrt(
    of_a_cpu: Path, signature: Signature, batch_of: Callable[..., tuple[Tensor, ...]], tmp_path: Path
) -> None:
    graph = tensorrt_graph(of_a_cpu)
    assert graph.precision == "int8"
    assert graph.changed
    assert graph.resigned.same > 0
    assert graph.resigned.coarser > 0
    (tmp_path / "signed.onnx").write_bytes(graph.content)
    onnx.checker.check_model(onnx.load(tmp_path / "signed.onnx"), full_check=True)
    inputs = {spec.name: tensor.numpy() for spec, tensor in zip(signature.inputs, batch_of(8, 1), strict=True)}
    before = OnnxRunner(of_a_cpu, optimise=False).run(inputs)["logit"]
    after = OnnxRunner(tmp_path / "signed.onnx", optimise=False).run(inputs)["logit"]
    assert 0 < np.abs(after - before).max() < 0.5 * np.abs(before).max() + 0.1


@pytest.mark.skipif(not any(one.usable for one in flavours()), reason="no TensorRT is installed")
def test_tensorrt_takes_what_it_refused(of_a_cpu: Path) -> None:
    assert check_operators(of_a_cpu).resigned.same > 0
