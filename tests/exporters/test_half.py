"""FP16 graphs: what is rounded and what is not, and how far the verdicts move."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from paretolens.exporters.cascade import join_stages
from paretolens.exporters.half import to_half
from paretolens.exporters.onnx import OnnxArtefact
from paretolens.exporters.runner import OnnxRunner
from paretolens.exporters.tensorrt import EnginePrecision, check_operators, flavours, tensorrt_graph
from paretolens.models.signature import Signature

needs_library = pytest.mark.skipif(not any(one.usable for one in flavours()), reason="no TensorRT is installed")


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor of the main graph."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    known = {info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.input, *graph.output)}
    return known | {tensor.name: tensor.data_type for tensor in graph.initializer}


def test_products_are_halves_and_the_rest_is_exact(exported: OnnxArtefact, tmp_path: Path) -> None:
    graph = tensorrt_graph(exported.path, EnginePrecision.FP16)
    (tmp_path / "half.onnx").write_bytes(graph.content)
    model = onnx.load(tmp_path / "half.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert (graph.precision, graph.changed) == ("fp16", True)
    assert len(graph.content) < 0.65 * exported.size_bytes
    of = kinds(model)
    for node in model.graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            assert {of[name] for name in node.input} == {TensorProto.FLOAT16}, node.name
        elif node.op_type in ("Softmax", "LayerNormalization", "GRU", "ReduceMean", "Exp"):
            assert of[node.output[0]] == TensorProto.FLOAT, node.name
    before = onnx.load(exported.path)
    for ends in ("input", "output"):
        assert [info.SerializeToString() for info in getattr(model.graph, ends)] == [
            info.SerializeToString() for info in getattr(before.graph, ends)
        ]


def test_verdicts_move_by_the_rounding_alone(
    exported: OnnxArtefact, signature: Signature, batch_of: Callable[..., tuple[Tensor, ...]], tmp_path: Path
) -> None:
    (tmp_path / "half.onnx").write_bytes(tensorrt_graph(exported.path, EnginePrecision.FP16).content)
    inputs = {spec.name: tensor.numpy() for spec, tensor in zip(signature.inputs, batch_of(6, 4), strict=True)}
    wanted = OnnxRunner(exported.path, optimise=False).run(inputs)
    found = OnnxRunner(tmp_path / "half.onnx", optimise=False).run(inputs)
    for name, value in wanted.items():
        assert found[name].dtype == np.float32
        assert 0 < np.abs(found[name] - value).max() < 0.02 * max(1.0, np.abs(value).max()), name


@needs_library
def test_tensorrt_takes_it(exported: OnnxArtefact) -> None:
    assert check_operators(exported.path, precision=EnginePrecision.FP16).precision == "fp16"


def stage(weight: float) -> onnx.ModelProto:
    """One linear layer and a softmax before it, on two numbers."""
    tensors = [numpy_helper.from_array(np.full((2, 1), weight, np.float32), "w")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["logit"])]
    ends = [helper.make_tensor_value_info("x", 1, ["n", 2]), helper.make_tensor_value_info("logit", 1, ["n", 1])]
    graph = helper.make_graph(nodes, "stage", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_branches_are_converted_too(tmp_path: Path) -> None:
    whole = join_stages(stage(1.0), stage(7.0), low=0.5, high=2.0)
    half = to_half(whole)
    onnx.checker.check_model(half, full_check=True)
    chosen = next(node for node in half.graph.node if node.op_type == "If")
    branch = next(attribute.g for attribute in chosen.attribute if attribute.name == "then_branch")
    assert {tensor.data_type for tensor in branch.initializer} == {TensorProto.FLOAT16}
    onnx.save(whole, tmp_path / "whole.onnx")
    onnx.save(half, tmp_path / "half.onnx")
    x = np.array([[0.1, 0.1], [0.4, 0.7], [3, 4]], np.float32)
    wanted = OnnxRunner(tmp_path / "whole.onnx").run({"x": x})
    found = OnnxRunner(tmp_path / "half.onnx").run({"x": x})
    np.testing.assert_allclose(found["logit"], wanted["logit"], rtol=2e-3)
    assert found["stage"].tolist() == wanted["stage"].tolist() == [[1], [2], [1]]


def test_constants_out_of_reach_and_layers_in_int8(tmp_path: Path) -> None:
    tensors = [
        numpy_helper.from_array(np.float32([[1e9, -np.inf], [1, 1]]), "big"),
        numpy_helper.from_array(np.float32(0.1), "step"),
    ]
    tensors += [numpy_helper.from_array(np.int8(0), "zero"), numpy_helper.from_array(np.int8([[1, 2], [3, 4]]), "weight")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        helper.make_node("Transpose", ["d"], ["t"], perm=[1, 0]),
        helper.make_node("DequantizeLinear", ["weight", "step", "zero"], ["w"]),
        helper.make_node("MatMul", ["t", "w"], ["m"], name="int8"),
        helper.make_node("MatMul", ["x", "x"], ["square"], name="half"),
        helper.make_node("Add", ["square", "big"], ["sum"]),
        helper.make_node("Shape", ["sum"], ["shape"]),
        helper.make_node("Reshape", ["sum", "shape"], ["same"]),
        helper.make_node("Add", ["same", "m"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    half = to_half(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    onnx.checker.check_model(half, full_check=True)
    of = kinds(half)
    by_name = {node.name: node for node in half.graph.node}
    assert {of[name] for name in by_name["int8"].input} == {TensorProto.FLOAT}
    assert {of[name] for name in by_name["half"].input} == {TensorProto.FLOAT16}
    assert Counter(node.op_type for node in half.graph.node)["Cast"] == 3, "x, m, and y back"
    big = next(numpy_helper.to_array(tensor) for tensor in half.graph.initializer if tensor.name == "big/half")
    assert big[0].tolist() == [65504.0, -np.inf]
