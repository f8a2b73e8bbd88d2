"""What an ONNX graph is made of: constants, what a node takes, and what nothing takes any more. Subgraphs count."""

from typing import Any

__all__ = ["constants_of", "remove_unused", "taken"]


def constants_of(graph: Any) -> dict[str, Any]:
    """Initialisers and outputs of Constant nodes by name, as `onnx.TensorProto`; those of subgraphs left out."""
    return {tensor.name: tensor for tensor in graph.initializer} | {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }


def taken(node: Any) -> set[str]:
    """Every tensor that a node takes, those that its branches take from around them too."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        if attribute.HasField("g"):
            branch = attribute.g
            inside = {name for inner in branch.node for name in taken(inner)} | {info.name for info in branch.output}
            made = {name for inner in branch.node for name in inner.output}
            names |= inside - made - {tensor.name for tensor in branch.initializer}
    return names


def remove_unused(graph: Any) -> None:
    """Remove nodes and initialisers that no output of the graph needs."""
    kept = {output.name for output in graph.output}
    while True:
        used = kept.union(*(taken(node) for node in graph.node))
        unused = [node for node in graph.node if not used.intersection(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
