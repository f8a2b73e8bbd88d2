"""Activations on signed grids: TensorRT knows int8 around zero only, ONNX Runtime's convolutions want uint8.

uint8 around 128 holds the same values as int8 around 0, so nothing changes there. uint8 from 0, the grid of what is never
negative, becomes int8 with the same reach and half the levels: such a graph is to be judged anew.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import numpy_helper

from paretolens.errors import BackendError
from paretolens.exporters.graphs import constants_of, remove_unused

__all__ = ["Resigned", "sign_activations"]

MIDDLE = 128
_COARSER = 255.0 / 127.0


@dataclass(frozen=True, kw_only=True)
class Resigned:
    """Quantisers and dequantisers that got another grid."""

    same: int
    """Those whose values stayed."""
    coarser: int
    """Those with half as many levels now."""


def sign_activations(model: Any) -> Resigned:
    """Put every uint8 QuantizeLinear and DequantizeLinear on int8 around zero, in place, subgraphs too.

    Args:
        model: `onnx.ModelProto`.

    Raises:
        BackendError: a zero point is neither 0 nor 128, or is computed.
    """
    same, coarser = 0, 0
    for graph, known in _graphs(model.graph, {}):
        made: dict[tuple[str, str], tuple[str, str]] = {}
        for node in graph.node:
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                continue
            zero = _zero_point(node, known)
            if zero is None:
                continue
            names = (node.input[1], node.input[2] if len(node.input) > 2 else "")
            if names not in made:
                made[names] = _signed(graph, names, known, zero)
            del node.input[1:]
            node.input.extend(made[names])
            same, coarser = (same + 1, coarser) if zero == MIDDLE else (same, coarser + 1)
    for graph, _ in _graphs(model.graph, {}):
        remove_unused(graph)
    return Resigned(same=same, coarser=coarser)


def _graphs(graph: Any, outside: dict[str, np.ndarray]) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    """A graph and those within it, each with the constants that it sees."""
    known = outside | {name: numpy_helper.to_array(tensor) for name, tensor in constants_of(graph).items()}
    yield graph, known
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g, known)


def _zero_point(node: Any, known: dict[str, np.ndarray]) -> int | None:
    """0 or MIDDLE of a uint8 pair; None for a signed one."""
    name = node.input[2] if len(node.input) > 2 else ""
    if not name:  # the standard's default is uint8 from 0
        return 0
    value = known.get(name)
    if value is not None and value.dtype == np.int8:
        return None
    if value is None or value.dtype != np.uint8 or not (np.all(value == 0) or np.all(value == MIDDLE)):
        got = "a computed one" if value is None else f"{value.dtype} {value.reshape(-1)[:3].tolist()}"
        raise BackendError(f"operator {node.op_type} (node {node.name}): its zero point must be 0 or {MIDDLE}, got {got}")
    return int(value.reshape(-1)[0])


def _signed(graph: Any, names: tuple[str, str], known: dict[str, np.ndarray], zero: int) -> tuple[str, str]:
    """Names of a new step and a new zero point in the graph."""
    step = known.get(names[0])
    if step is None:
        raise BackendError(f"the step {names[0]} must be a constant so that its grid can be signed: export the model again")
    signed = f"{names[0]}/signed{zero}"
    scale = step if zero == MIDDLE else (step * np.float32(_COARSER)).astype(step.dtype)
    tensors = (scale, signed), (np.zeros(np.shape(step), np.int8), f"{signed}/zero")
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for value, name in tensors)
    return signed, f"{signed}/zero"
