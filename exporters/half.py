"""An ONNX graph in FP16 where that is faster, in FP32 where it must be exact.

Convolutions and products run in half precision, and what only moves or adds their results follows them. Softmax, norms, sums over
axes, recurrent layers and everything unknown stay in FP32, inputs and outputs too. Layers that run in int8 are left as they are.
Unlike the converters that rewrite whole files, it keeps nodes in order, walks into `If`, and shares no rounded weight with FP32.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from paretolens.errors import BackendError
from paretolens.exporters.graphs import constants_of, remove_unused, taken

__all__ = ["to_half"]

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""What FP16 is for."""
_ELEMENTS = (
    "Abs",
    "Add",
    "Clip",
    "Div",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mul",
    "Neg",
    "PRelu",
    "Relu",
    "Sigmoid",
    "Sub",
    "Tanh",
    "Where",
)
_POOLS = ("AveragePool", "GlobalAveragePool", "MaxPool")
_SHAPES = (
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Pad",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
FOLLOWERS = frozenset((*_ELEMENTS, *_POOLS, *_SHAPES))
"""What runs in the precision of its inputs: FP16 if one that is computed is."""
ANY_KIND = frozenset({"Cast", "Shape", "Size"})
"""What takes either precision, and gives the same."""
MOVES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""What leaves a dequantised tensor one: a runtime moves the integers."""
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
LARGEST = float(np.finfo(np.float16).max)


def to_half(model: Any) -> Any:
    """A copy of an FP32 or int8 `onnx.ModelProto` with FP16 products; inputs and outputs keep their types.

    Finite constants beyond ±65504 become that, infinities stay.

    Raises:
        BackendError: a float tensor's type cannot be told.
    """
    converted = onnx.shape_inference.infer_shapes(model)
    _Half(converted.graph, None).convert()
    return converted


class _Half:
    """One graph on its way; `outer` is the one around it."""

    def __init__(self, graph: Any, outer: "_Half | None") -> None:
        self.graph, self.outer = graph, outer
        self.kinds = {info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.input, *graph.output)}
        self.constants = constants_of(graph)
        self.kinds |= {name: tensor.data_type for name, tensor in self.constants.items()}
        self.halves: dict[str, str] = {}  # float tensor → its twin in FP16
        self.whole = {*self.constants, *(info.name for info in graph.input)}  # tensors that are there as they were
        self.integers: set[str] = set()  # dequantised: what takes them runs in int8
        self.nodes: list[Any] = []

    def convert(self) -> None:
        """Rewrite the graph in place."""
        for node in self.graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    _Half(attribute.g, self).convert()
            self._halve(node) if self._in_half(node) else self._keep(node)
        for info in self.graph.output:
            self._restore(info.name)
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        remove_unused(self.graph)

    def _in_half(self, node: Any) -> bool:
        if node.domain not in ("", "ai.onnx"):
            return False
        if node.op_type in PRODUCTS:
            return not any(self._owner(name).integers.issuperset([name]) for name in node.input)
        return node.op_type in FOLLOWERS and any(self._computed_in_half(name) for name in node.input)

    def _halve(self, node: Any) -> None:
        """Float inputs become their twins in FP16, and so do float outputs."""
        for place, name in enumerate(node.input):
            if name and self._kind(name, node) == FLOAT:
                node.input[place] = self._owner(name).twin(name)
        self.nodes.append(node)
        for place, name in enumerate(node.output):
            if name and self._kind(name, node) == FLOAT:
                node.output[place] = self.halves[name] = f"{name}/half"

    def _keep(self, node: Any) -> None:
        """A node in FP32: what it takes in FP16 is cast back first."""
        if node.op_type in ANY_KIND and not self._owner(node.input[0])._is_whole(node.input[0]):
            node.input[0] = self._owner(node.input[0]).halves[node.input[0]]
        for name in sorted(taken(node)):
            self._owner(name)._restore(name)
        self.nodes.append(node)
        self.whole.update(node.output)
        moved = node.op_type in MOVES and self._owner(node.input[0]).integers.issuperset([node.input[0]])
        if node.op_type == "DequantizeLinear" or moved:
            self.integers.update(node.output)

    def twin(self, name: str) -> str:
        """The FP16 twin of a float tensor of this graph, made if need be."""
        if name not in self.halves:
            self.halves[name] = twin = f"{name}/half"
            if name in self.constants:
                rounded = _rounded(numpy_helper.to_array(self.constants[name]))
                self.graph.initializer.append(numpy_helper.from_array(rounded, twin))
            else:
                self.nodes.append(_cast(name, twin, HALF))
        return self.halves[name]

    def _restore(self, name: str) -> None:
        """Make sure that a tensor of this graph is there as it was."""
        if not self._is_whole(name):
            self.nodes.append(_cast(self.halves[name], name, FLOAT))
            self.whole.add(name)

    def _is_whole(self, name: str) -> bool:
        return name in self.whole or name not in self.halves

    def _computed_in_half(self, name: str) -> bool:
        owner = self._owner(name)
        return name in owner.halves and name not in owner.constants

    def _owner(self, name: str) -> "_Half":
        """The graph that makes a tensor."""
        return self if name in self.kinds or self.outer is None else self.outer._owner(name)

    def _kind(self, name: str, node: Any) -> int:
        kind = self._owner(name).kinds.get(name)
        if not kind:
            raise BackendError(f"operator {node.op_type} (node {node.name}): the type of {name} cannot be told: FP16 is not made")
        return int(kind)


def _cast(source: str, target: str, kind: int) -> Any:
    return helper.make_node("Cast", [source], [target], name=f"{target}/cast", to=kind)


def _rounded(values: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values)
    halves: np.ndarray = np.where(finite, np.clip(values, -LARGEST, LARGEST), values).astype(np.float16)
    return halves
