"""The graph that TensorRT is given: the file's own, with what the library does not know written in another way.

Engines are strongly typed, so the graph decides the precision: int8 on signed grids (`signed`), FP16 where asked for (`half`).
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paretolens.exporters.half import to_half
from paretolens.exporters.onnx import load_graph, precision_of_graph
from paretolens.exporters.signed import Resigned, sign_activations

__all__ = ["EnginePrecision", "TensorRTGraph", "tensorrt_graph"]


class EnginePrecision(StrEnum):
    """What an engine computes in."""

    TRAINED = "trained"  # as the file: FP32, or int8 and FP32
    TF32 = "tf32"  # the same with FP32 products rounded to 10 bits, which GPUs are faster at
    FP16 = "fp16"  # products in half precision; norms, softmax, inputs and outputs in FP32; int8 layers stay


@dataclass(frozen=True, kw_only=True)
class TensorRTGraph:
    """A graph in memory."""

    content: bytes
    """ONNX."""
    precision: str
    """`int8` if any layer is, else `fp16`, `tf32` or `fp32`."""
    resigned: Resigned
    """Activations that were put on a signed grid."""
    changed: bool
    """Whether it is another one than the file's."""


def tensorrt_graph(path: Path, precision: EnginePrecision = EnginePrecision.TRAINED) -> TensorRTGraph:
    """Write a file's graph as TensorRT takes it.

    Args:
        path: ONNX file.
        precision: What the engine shall compute in.

    Raises:
        IntegrityError: the file is missing or is not ONNX.
        BackendError: an activation's grid is none that can be signed, or a tensor's type cannot be told.
    """
    model = load_graph(path)
    resigned = sign_activations(model)
    if precision is EnginePrecision.FP16:
        model = to_half(model)
    found = precision_of_graph(model, Counter(node.op_type for node in model.graph.node))
    changed = precision is EnginePrecision.FP16 or resigned.same + resigned.coarser > 0
    return TensorRTGraph(
        content=model.SerializeToString(deterministic=True) if changed else path.read_bytes(),
        precision="tf32" if found == "fp32" and precision is EnginePrecision.TF32 else found,
        resigned=resigned,
        changed=changed,
    )
