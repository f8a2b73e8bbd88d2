"""Quantised weights stored as int8: QuantizeLinear of a constant is computed once, at export.

The exporter writes fp32 weights followed by QuantizeLinear and DequantizeLinear. Computing the first of the two here keeps the
graph's meaning (the runtime would compute the same integers) and makes the file about four times smaller.
"""

from typing import Any

import numpy as np
import onnx
import onnx.reference
from onnx import numpy_helper

from paretolens.exporters.graphs import remove_unused

__all__ = ["fold_weights", "quantize_linear"]


def fold_weights(model: Any) -> int:
    """Replace every QuantizeLinear of a constant by its integers, in place; returns how many were replaced.

    Args:
        model: `onnx.ModelProto`. Nodes and initialisers that nothing uses any more are removed.
    """
    constants = _Constants(model)
    _fold_parameters(model.graph, constants)
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
    remove_unused(model.graph)
    return len(folded)


def _fold_parameters(graph: Any, constants: "_Constants") -> None:
    """Store scales and zero points that are computed from constants, so that the weights they come from are not kept for them."""
    nodes = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for name in sorted({name for node in nodes for name in node.input[1:] if constants.computed(name)}):
        tensor = numpy_helper.from_array(constants.value(name), f"{name}_constant")
        graph.initializer.append(tensor)
        constants.tensors[tensor.name] = tensor
        for node in nodes:
            for index in range(1, len(node.input)):
                if node.input[index] == name:
                    node.input[index] = tensor.name


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
    """Values in a graph that do not depend on its inputs."""

    def __init__(self, model: Any) -> None:
        self.opsets = model.opset_import
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.makers: dict[str, Any] = {}
        for node in model.graph.node:  # in topological order
            inputs = [name for name in node.input if name]
            if not node.op_type.startswith("Random") and all(name in self.tensors or name in self.makers for name in inputs):
                self.makers |= dict.fromkeys(node.output, node)

    def computed(self, name: str) -> bool:
        """Whether `name` is constant but neither stored nor the output of a Constant node."""
        return name in self.makers and self.makers[name].op_type != "Constant"

    def value(self, name: str) -> Any:
        """The array called `name`, or None if it is not constant."""
        if name in self.tensors:
            return numpy_helper.to_array(self.tensors[name])
        if name not in self.makers:
            return None
        nodes: dict[str, Any] = {}
        self._collect(name, nodes)
        leaves = {leaf for node in nodes.values() for leaf in node.input if leaf in self.tensors}
        graph = onnx.helper.make_graph(
            list(nodes.values()),
            "constant",
            [],
            [onnx.helper.make_empty_tensor_value_info(name)],
            [self.tensors[leaf] for leaf in sorted(leaves)],
        )
        model = onnx.helper.make_model(graph, opset_imports=self.opsets)
        return np.asarray(onnx.reference.ReferenceEvaluator(model).run([name], {})[0])

    def _collect(self, name: str, nodes: dict[str, Any]) -> None:
        """Add the nodes that `name` is made by, each after those it needs."""
        if name in self.makers and self.makers[name].output[0] not in nodes:
            for source in self.makers[name].input:
                self._collect(source, nodes)
            nodes[self.makers[name].output[0]] = self.makers[name]


def _is_weight(value: Any) -> bool:
    return value is not None and value.ndim >= 1
