"""Quantised weights stored as int8: QuantizeLinear of a constant is computed once, at export.

The exporter writes fp32 weights followed by QuantizeLinear and DequantizeLinear. Computing the first of the two here keeps the
graph's meaning (the runtime would compute the same integers) and makes the file about four times smaller.
"""

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["fold_weights", "quantize_linear"]


def fold_weights(model: Any) -> int:
    """Replace every QuantizeLinear of a constant by its integers, in place; returns how many were replaced.

    Args:
        model: `onnx.ModelProto`. Nodes and initialisers that nothing uses any more are removed.
    """
    constants = _Constants(model.graph)
    folded = [
        node for node in model.graph.node if node.op_type == "QuantizeLinear" and _is_weight(constants.value(node.input[0]))
    ]
    for node in folded:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        zero = constants.value(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros((), np.uint8)
        integers = quantize_linear(constants.value(node.input[0]), constants.value(node.input[1]), zero, axis)
        model.graph.initializer.append(numpy_helper.from_array(integers, node.output[0]))
    for node in folded:
        model.graph.node.remove(node)
    _remove_unused(model.graph)
    return len(folded)


def quantize_linear(values: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int) -> np.ndarray:
    """ONNX QuantizeLinear: saturate(round half to even(values / scale) + zero), per tensor or along `axis`."""
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis] = -1
    limits = np.iinfo(zero.dtype)
    scaled = np.rint(values / scale.reshape(shape)) + zero.astype(np.float32).reshape(
        shape if zero.size > 1 else [1] * values.ndim
    )
    integers: np.ndarray = np.clip(scaled, limits.min, limits.max).astype(zero.dtype)
    return integers


class _Constants:
    """Values in a graph that do not depend on its inputs, as far as exporters write them."""

    def __init__(self, graph: Any) -> None:
        self.known = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}

    def value(self, name: str) -> Any:
        """The array called `name`, or None if it is not constant."""
        if name in self.known:
            return numpy_helper.to_array(self.known[name])
        node = self.makers.get(name)
        if node is None:
            return None
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            return numpy_helper.to_array(attributes["value"])
        source = self.value(node.input[0]) if node.op_type in ("Identity", "Transpose", "Cast") else None
        if source is not None and node.op_type == "Transpose":
            return source.transpose(attributes.get("perm"))
        if source is not None and node.op_type == "Cast":
            return source.astype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))
        return source


def _is_weight(value: Any) -> bool:
    return value is not None and value.ndim >= 1


def _remove_unused(graph: Any) -> None:
    kept = {output.name for output in graph.output}
    while True:
        used = kept | {name for node in graph.node for name in node.input}
        unused = [node for node in graph.node if not used.intersection(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
