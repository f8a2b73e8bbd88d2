"""Precisions of files for other runtimes. Imports nothing, so that flags may name them."""

from collections.abc import Mapping

__all__ = ["AGREEMENT", "ENGINE_PRECISIONS", "PRECISIONS", "USUAL"]

PRECISIONS = ("fp32", "dynamic", "static-int8", "full-int8")
"""Of LiteRT files: `dynamic` has int8 weights and float activations, `static-int8` rounds both in convolutions and linear layers,
and `full-int8` rounds every operator, for accelerators that know integers only. `int8` alone is an ONNX file, or an engine of it,
that a student was trained for: another grid and other operators."""
USUAL = PRECISIONS[:3]
"""Those made unless others are asked for."""
ENGINE_PRECISIONS = ("trained", "tf32", "fp16")
"""Of TensorRT engines, as `EnginePrecision` of `exporters.tensorrt_graph` explains them."""
AGREEMENT: Mapping[str, float] = {
    "fp32": 1.0, "tf32": 0.98, "fp16": 0.98, "dynamic": 0.95, "int8": 0.9, "static-int8": 0.9, "full-int8": 0.9,
}  # fmt: skip
"""Share of the clips on which the verdict must be the torch model's."""
