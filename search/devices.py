"""Where artefacts can be measured again, by name. Imports nothing, so that flags may name them."""

from collections.abc import Mapping

__all__ = ["DEVICES", "LITERT", "TENSORRT"]

LITERT: Mapping[str, str] = {"litert": "fp32", "litert-dynamic": "dynamic", "litert-int8": "static-int8"}
"""Device → precision of its LiteRT files."""
TENSORRT: Mapping[str, str] = {"tensorrt": "trained", "tensorrt-fp16": "fp16"}
"""Device → precision of its engines."""
DEVICES = ("onnxruntime-cpu", *TENSORRT, *LITERT)
