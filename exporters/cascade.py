"""A cascade as one ONNX graph that runs its second stage only on the rows that the first leaves open."""

from typing import Any

__all__ = ["THRESHOLDS", "join_stages"]

THRESHOLDS = ("cascade/low", "cascade/high")
"""Constants of a joined graph: logits between which a row goes on."""


def join_stages(first: Any, second: Any, *, low: float, high: float) -> Any:
    """One graph of two: `If` a row of the batch is open, those rows go through `second`.

    Args:
        first: ONNX model from one picture input to `logit` (B, 1).
        second: the same.
        low: logit of the first stage at or below which a row is decided.
        high: logit at or above which it is.

    Returns:
        A model with the same input and the outputs `logit` (B, 1) and `stage` (B, 1), 1 or 2. Two stages share no names.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    name = first.graph.input[0].name
    early, late = _graph(first, "first/", name), _graph(second, "second/", "cascade/open")
    constants = {"low": low, "high": high, "half": 0.5, "one": 1.0}
    initializers = [numpy_helper.from_array(np.float32(value), f"cascade/{key}") for key, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), "cascade/flat"))
    then, otherwise = _branches(late, name)
    nodes = [
        *early.node,
        helper.make_node("Greater", ["first/logit", "cascade/low"], ["cascade/above"]),
        helper.make_node("Less", ["first/logit", "cascade/high"], ["cascade/below"]),
        helper.make_node("And", ["cascade/above", "cascade/below"], ["cascade/left"]),
        helper.make_node("Cast", ["cascade/left"], ["cascade/number"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["cascade/number", "cascade/one"], ["stage"]),
        helper.make_node("ReduceMax", ["cascade/number"], ["cascade/most"], keepdims=0),
        helper.make_node("Greater", ["cascade/most", "cascade/half"], ["cascade/any"]),
        helper.make_node("If", ["cascade/any"], ["logit"], then_branch=then, else_branch=otherwise),
    ]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 1]) for output in ("logit", "stage")]
    graph = helper.make_graph(nodes, "cascade", list(first.graph.input), outputs, initializer=[*early.initializer, *initializers])
    return helper.make_model(graph, opset_imports=list(first.opset_import), ir_version=first.ir_version)


def _branches(late: Any, name: str) -> tuple[Any, Any]:
    """Both branches of the `If`: logits with those of open rows by the second stage, and those of the first as they are."""
    from onnx import TensorProto, helper

    then = helper.make_graph(
        [
            helper.make_node("Reshape", ["cascade/left", "cascade/flat"], ["cascade/left_flat"]),
            helper.make_node("NonZero", ["cascade/left_flat"], ["cascade/places"]),
            helper.make_node("Transpose", ["cascade/places"], ["cascade/rows"], perm=[1, 0]),
            helper.make_node("Reshape", ["cascade/rows", "cascade/flat"], ["cascade/rows_flat"]),
            helper.make_node("Gather", [name, "cascade/rows_flat"], ["cascade/open"], axis=0),
            *late.node,
            helper.make_node("ScatterND", ["first/logit", "cascade/rows", "second/logit"], ["cascade/decided"]),
        ],
        "second",
        [],
        [helper.make_tensor_value_info("cascade/decided", TensorProto.FLOAT, ["batch", 1])],
        initializer=list(late.initializer),
    )
    otherwise = helper.make_graph(
        [helper.make_node("Identity", ["first/logit"], ["cascade/kept"])],
        "kept",
        [],
        [helper.make_tensor_value_info("cascade/kept", TensorProto.FLOAT, ["batch", 1])],
    )
    return then, otherwise


def _graph(model: Any, prefix: str, image: str) -> Any:
    """The graph with a prefix before every name but its input's, which becomes `image`."""
    import onnx.compose

    name = model.graph.input[0].name
    graph = onnx.compose.add_prefix(model, prefix).graph
    for node in graph.node:
        for place, given in enumerate(node.input):
            if given == prefix + name:
                node.input[place] = image
    return graph
