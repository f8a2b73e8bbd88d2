"""Rounded stems in another way: the same numbers to the bit, and whatever is no such stem as it was."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paretolens.exporters.runner import OnnxRunner
from paretolens.exporters.stems import spread_stems


@dataclass(frozen=True, kw_only=True)
class Stem:
    """Rounding, a convolution of int8 weights, and a ReLU."""

    size: tuple[int | str, int | str] = (12, 10)
    channels: int = 3
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (2, 2)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilation: int = 1
    zero: np.generic = np.uint8(128)  # noqa: RUF009  # a scalar of NumPy, which nothing changes
    shared: bool = False

    def model(self) -> onnx.ModelProto:
        """x (n, channels, *size) → y."""
        generator = np.random.default_rng(0)
        weight = generator.integers(-127, 128, (8, self.channels, *self.kernel)).astype(np.int8)
        steps = (2.0 ** -generator.integers(7, 10, 8)).astype(np.float32)  # sums of powers of two are exact in any order
        bias = (generator.integers(-5000, 5000, 8) * 2.0**-15).astype(np.float32)
        tensors = {
            "w": weight, "steps": steps, "zeros": np.zeros(8, np.int8), "bias": bias, "step": np.float32(2.0**-6),
            "zero": self.zero,
        }  # fmt: skip
        settings = {"strides": self.stride, "pads": self.pads, "dilations": [self.dilation] * 2, "kernel_shape": self.kernel}
        nodes = [
            helper.make_node("DequantizeLinear", ["w", "steps", "zeros"], ["weight"], axis=0),
            helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["rounded"]),
            helper.make_node("DequantizeLinear", ["rounded", "step", "zero"], ["seen"]),
            helper.make_node("Conv", ["seen", "weight", "bias"], ["found"], name="stem", **settings),
            helper.make_node("Relu", ["found"], ["y"]),
        ]
        ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", self.channels, *self.size])]
        seen = ["y", "seen"] if self.shared else ["y"]
        outs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *(f"{name}{i}" for i in "chw")]) for name in seen]
        stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
        graph = helper.make_graph(nodes, "g", ends, outs, stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray, path: Path) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return OnnxRunner(path, optimise=False).run({"x": x})["y"]


@pytest.mark.parametrize(
    ("stem", "kernel"),
    [
        (Stem(), [2, 2]),
        (Stem(kernel=(7, 7), pads=(3, 3, 3, 3)), [4, 4]),
        (Stem(kernel=(5, 3), pads=(2, 1, 2, 1), size=(13, 11)), [3, 2]),
        (Stem(kernel=(3, 3), pads=(0, 0, 1, 1)), [2, 2]),
        (Stem(kernel=(4, 4), stride=(4, 4), pads=(0, 0, 0, 0), size=(12, 8)), [1, 1]),  # patches; nothing to pad
        (Stem(kernel=(7, 7), stride=(3, 3), pads=(3, 3, 3, 3), channels=1, zero=np.uint8(0)), [3, 3]),
    ],
)
def test_squares_of_pixels_give_the_same_to_the_bit(stem: Stem, kernel: list[int], tmp_path: Path) -> None:
    model = stem.model()
    x = np.random.default_rng(1).standard_normal((2, stem.channels, *stem.size)).astype(np.float32)
    before = run(model, x, tmp_path / "before.onnx")
    assert spread_stems(model) == 1
    np.testing.assert_array_equal(run(model, x, tmp_path / "after.onnx"), before)
    (node,) = [node for node in model.graph.node if node.op_type == "Conv"]
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert found["kernel_shape"] == kernel
    assert "strides" not in found
    assert "Pad" not in {node.op_type for node in model.graph.node} or any(stem.pads)
    assert spread_stems(model) == 0
    stored = {tensor.name for tensor in model.graph.initializer}
    assert "w" not in stored, "the weights are kept once"


@pytest.mark.parametrize(
    "stem",
    [
        Stem(stride=(1, 1)),
        Stem(stride=(2, 1)),
        Stem(dilation=2),
        Stem(channels=8),
        Stem(zero=np.int8(0)),  # TensorRT's grid
        Stem(size=("h", "w")),
        Stem(kernel=(2, 2), pads=(0, 0, 0, 0), size=(5, 5)),  # its last pixels are never seen
        Stem(shared=True),
    ],
)
def test_everything_else_stays_as_it_is(stem: Stem) -> None:
    model = stem.model()
    before = model.SerializeToString()
    assert spread_stems(model) == 0
    assert model.SerializeToString() == before
