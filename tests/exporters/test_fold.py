import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from paretolens.exporters.fold import fold_weights, quantize_linear


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def linear(weight: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int, *, transposed: bool) -> onnx.ModelProto:
    """x @ DequantizeLinear(QuantizeLinear(weight)), the weight behind a Constant, an Identity and perhaps a Transpose."""
    nodes = [
        helper.make_node("Constant", [], ["scale"], value=numpy_helper.from_array(scale)),
        helper.make_node("Identity", ["w"], ["same"]),
        helper.make_node("Transpose", ["same"], ["turned"], perm=[1, 0]),
        helper.make_node("QuantizeLinear", ["turned" if transposed else "same", "scale", "zero"], ["q"], axis=axis),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], axis=axis),
        helper.make_node("MatMul", ["x", "dq"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes if transposed else [*nodes[:2], *nodes[3:]],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weight.T.copy() if transposed else weight, "w"), numpy_helper.from_array(zero, "zero")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_folded_graph_computes_the_same(transposed: bool, per_channel: bool, dtype: type) -> None:
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((6, 4)).astype(np.float32)
    count = (4,) if per_channel else ()
    scale = generator.uniform(0.005, 0.02, count).astype(np.float32)  # small enough that some weights saturate
    zero = np.full(count, 7, dtype)
    model = linear(weight, np.asarray(scale), np.asarray(zero), 1, transposed=transposed)
    x = generator.standard_normal((3, 6)).astype(np.float32)
    before = run(model, x)
    assert fold_weights(model) == 1
    onnx.checker.check_model(model)
    np.testing.assert_array_equal(run(model, x), before)
    kept = {tensor.name: numpy_helper.to_array(tensor).dtype for tensor in model.graph.initializer}
    assert kept == {"q": np.dtype(dtype), "zero": np.dtype(dtype)}  # the float weight is gone
    assert {node.op_type for node in model.graph.node} == {"Constant", "DequantizeLinear", "MatMul"}


def test_rounds_half_to_even() -> None:
    values = np.array([0.5, 1.5, -0.5, -2.5, 300.0], np.float32)
    found = quantize_linear(values, np.float32(1.0), np.zeros((), np.int8), 0)
    assert found.tolist() == [0, 2, 0, -2, 127]


def test_activations_are_left_alone() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    constants = [numpy_helper.from_array(np.float32(0.1), "scale"), numpy_helper.from_array(np.int8(0), "zero")]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [2])], [value("y", TensorProto.FLOAT, [2])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert fold_weights(model) == 0
    assert len(model.graph.node) == 2
