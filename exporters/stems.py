"""Rounded stems as ONNX Runtime's CPU kernels like them: squares of pixels become channels, and the stride goes.

A convolution of 7×7 with stride 2 over 3 channels is one of 4×4 over 12 channels at half the height and width (space to depth):
the same integers are multiplied and added, and zeros beside them. Before it multiplies, the runtime gathers what lies under the
kernel, three bytes at a time there and twelve here; that took more time than a quarter of some students. In FP32 it gathers in
another way and would gain nothing, so those graphs stay as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper, shape_inference

from paretolens.exporters.graphs import constants_of, remove_unused, taken

__all__ = ["spread_stems"]

MOST_CHANNELS = 4
"""What has more is gathered well as it is."""


@dataclass(frozen=True, kw_only=True)
class _Stem:
    """A strided convolution between its quantisers, in a graph."""

    convolution: Any
    """Conv."""
    rounding: Any
    """QuantizeLinear of what comes in."""
    weight: Any
    """DequantizeLinear of the weights."""
    values: np.ndarray
    """(out, in, k, l) int8."""
    stride: int
    """Of both axes."""
    pads: tuple[int, int, int, int]
    """Above, left, below, right, such that the padded picture is one of whole squares."""


def spread_stems(model: Any) -> int:
    """Write every strided convolution of few channels whose activations are uint8 in the other way, in place.

    Args:
        model: `onnx.ModelProto` with weights as int8 (`fold_weights`). Convolutions in subgraphs are left as they are, and those
            whose height and width are not known or would have to be cut.

    Returns:
        How many were rewritten.
    """
    graph = model.graph
    stems = list(_stems(graph, _sizes(model)))
    for stem in stems:
        _spread(graph, stem)
    if stems:
        del graph.value_info[:]  # shapes as they were
        remove_unused(graph)
    return len(stems)


def _sizes(model: Any) -> dict[str, tuple[int, ...]]:
    """Height and width by name, of pictures whose size is known."""
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return {}
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    found = {}
    for info in (*graph.input, *graph.value_info):
        dims = info.type.tensor_type.shape.dim
        if len(dims) == 4 and all(dim.dim_value > 0 for dim in dims[2:]):
            found[info.name] = tuple(int(dim.dim_value) for dim in dims[2:])
    return found


def _stems(graph: Any, sizes: Mapping[str, tuple[int, ...]]) -> Any:
    known = constants_of(graph)
    makers = {name: node for node in graph.node for name in node.output}
    takers: dict[str, int] = dict.fromkeys((output.name for output in graph.output), 1)
    for node in graph.node:
        for name in taken(node):
            takers[name] = takers.get(name, 0) + 1
    for node in graph.node:
        stem = _stem(node, makers, takers, known, sizes) if node.op_type == "Conv" else None
        if stem is not None:
            yield stem


def _stem(
    node: Any,
    makers: Mapping[str, Any],
    takers: Mapping[str, int],
    known: Mapping[str, Any],
    sizes: Mapping[str, tuple[int, ...]],
) -> _Stem | None:
    """What is to be rewritten, if the convolution is such a stem."""
    source, weight = (makers.get(name) for name in node.input[:2])
    if source is None or weight is None or {source.op_type, weight.op_type} != {"DequantizeLinear"}:
        return None
    rounding = makers.get(source.input[0])
    alone = all(takers[name] == 1 for name in (*node.input[:2], source.input[0]))
    if rounding is None or rounding.op_type != "QuantizeLinear" or not alone or weight.input[0] not in known:
        return None
    zero = known.get(rounding.input[2]) if len(rounding.input) > 2 else None
    size = sizes.get(rounding.input[0])
    if zero is None or numpy_helper.to_array(zero).dtype != np.uint8 or size is None:
        return None  # another runtime's grid
    values = numpy_helper.to_array(known[weight.input[0]])
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    stride = settings.get("strides", [1, 1])
    plain = settings.get("group", 1) == 1 and set(settings.get("dilations", [1])) == {1} and "auto_pad" not in settings
    if values.ndim != 4 or values.shape[1] > MOST_CHANNELS or not plain or stride[0] != stride[1] or stride[0] < 2:
        return None
    pads = _pads(size, values.shape[2:], stride[0], settings.get("pads", [0, 0, 0, 0]))
    if min(pads) < 0:
        return None
    return _Stem(convolution=node, rounding=rounding, weight=weight, values=values, stride=stride[0], pads=pads)


def _pads(size: tuple[int, ...], kernel: tuple[int, ...], stride: int, pads: list[int]) -> tuple[int, int, int, int]:
    """Padding with which the convolution sees as many whole squares as it has steps and its kernel needs."""
    behind = []
    for axis in (0, 1):
        steps = (size[axis] + pads[axis] + pads[axis + 2] - kernel[axis]) // stride + 1
        needed = (steps - 1 + -(-kernel[axis] // stride)) * stride
        behind.append(needed - size[axis] - pads[axis])
    return (pads[0], pads[1], behind[0], behind[1])


def _spread(graph: Any, stem: _Stem) -> None:
    """Pad, space to depth, round, and the convolution of the rearranged weights."""
    node, source = stem.convolution, stem.rounding.input[0]
    name = f"{node.name or node.output[0]}/squares"
    before: list[NodeProto] = []
    if any(stem.pads):
        above, left, below, right = stem.pads
        pads = np.array([0, 0, above, left, 0, 0, below, right], np.int64)
        graph.initializer.append(numpy_helper.from_array(pads, f"{name}/pads"))
        before.append(helper.make_node("Pad", [source, f"{name}/pads"], [f"{name}/padded"], name=f"{name}/Pad", mode="constant"))
        source = f"{name}/padded"
    before.append(
        helper.make_node("SpaceToDepth", [source], [f"{name}/deep"], name=f"{name}/SpaceToDepth", blocksize=stem.stride)
    )
    values = _rearranged(stem.values, stem.stride)
    graph.initializer.append(numpy_helper.from_array(values, f"{name}/weight"))
    stem.rounding.input[0], stem.weight.input[0] = f"{name}/deep", f"{name}/weight"
    kept = [attribute for attribute in node.attribute if attribute.name not in ("kernel_shape", "pads", "strides")]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("kernel_shape", values.shape[2:])])
    place = list(graph.node).index(stem.rounding)
    for new in reversed(before):
        graph.node.insert(place, new)


def _rearranged(weights: np.ndarray, stride: int) -> np.ndarray:
    """(out, in, k, l) → (out, stride²·in, ⌈k/stride⌉, ⌈l/stride⌉), in the order in which ONNX's SpaceToDepth makes channels."""
    out, into, *kernel = weights.shape
    height, width = (-(-side // stride) for side in kernel)
    whole = np.zeros((out, into, height * stride, width * stride), weights.dtype)
    whole[:, :, : kernel[0], : kernel[1]] = weights
    squares = whole.reshape(out, into, height, stride, width, stride)
    return squares.transpose(0, 3, 5, 1, 2, 4).reshape(out, stride**2 * into, height, width)
