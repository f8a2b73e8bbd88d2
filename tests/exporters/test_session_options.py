"""The probe is what it says, and tells what the processor's own flags tell."""

import platform
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from paretolens.exporters import session_options as module
from paretolens.exporters.session_options import int8_products_saturate, session_options

CPU = Path("/proc/cpuinfo")


def probe() -> bytes:
    def constant(name: str, kind: int, values: list[float]) -> onnx.TensorProto:
        return helper.make_tensor(name, kind, [] if len(values) == 1 else [len(values)], values)

    seven = helper.make_tensor("v", TensorProto.INT8, [1], [127])
    nodes = [
        helper.make_node("ConstantOfShape", ["ws"], ["w"], value=seven),
        helper.make_node("ConstantOfShape", ["ms"], ["m"], value=seven),
        helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "i", "t", "z"], ["y"]),
        helper.make_node("MatMulInteger", ["a", "m"], ["b"]),
    ]
    constants = [
        constant("ws", TensorProto.INT64, [16, 16, 1, 1]), constant("ms", TensorProto.INT64, [16, 16]),
        constant("s", TensorProto.FLOAT, [1.0]), constant("t", TensorProto.FLOAT, [2590.8]),
        constant("z", TensorProto.UINT8, [0]), constant("i", TensorProto.INT8, [0]),
    ]  # fmt: skip
    value, byte = helper.make_tensor_value_info, TensorProto.UINT8
    inputs = [value("x", byte, [1, 16, 4, 4]), value("a", byte, [4, 16])]
    outputs = [value("y", byte, [1, 16, 4, 4]), value("b", TensorProto.INT32, [4, 16])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


def test_the_probe_is_built_like_this() -> None:
    assert probe() == module._PROBE


@pytest.mark.skipif(platform.machine() != "x86_64" or not CPU.is_file(), reason="reads the flags of an x64 Linux")
def test_products_saturate_where_the_processor_has_no_vnni() -> None:
    flags = CPU.read_text().partition("flags")[2].partition("\n")[0].split()
    assert int8_products_saturate() == (not {"avx512_vnni", "avx_vnni"} & set(flags))


@pytest.mark.parametrize("saturates", [True, False])
def test_what_saturates_is_computed_exactly(saturates: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "int8_products_saturate", lambda: saturates or int8_products_saturate())
    options = session_options(1)
    if saturates:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"
    session = onnxruntime.InferenceSession(module._PROBE, options, providers=["CPUExecutionProvider"])
    convolved, _ = session.run(None, {"x": np.full((1, 16, 4, 4), 255, np.uint8), "a": np.full((4, 16), 255, np.uint8)})
    assert (convolved == 200).all()
