"""A fixed model that is timed beside every candidate, so that a slower or busier machine cancels out.

On one machine the same artefact takes 5–10 % longer when neighbours share caches and memory or the clock is lowered. The
calibration model is slowed by the same factor in the same seconds. So within a study

    latency_ms = candidate_ms × reference_ms / calibration_ms

where candidate_ms and calibration_ms come from the same interleaved rounds (`timing`), and reference_ms is the calibration
model's time on this machine, measured once when the study begins and kept with it (`Calibration`). Without a reference the
factor is 1.
"""

import hashlib
import tempfile
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Calibration", "calibration_model", "calibration_session"]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The calibration model's time on one machine, stored once per study."""

    reference_ms: float
    """Its noise-proof time on this machine, in milliseconds."""
    runs: int
    """Runs it was taken from."""
    device: str
    """Name of the processor."""
    runtime: str
    """Runtime and version."""
    model_sha256: str
    """Checksum of the calibration model: another model is another unit."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, as stored with a study."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Calibration":
        """Inverse of `to_json`."""
        return Calibration(**data)


@lru_cache(maxsize=1)
def calibration_model() -> bytes:
    """The ONNX file, the same bytes everywhere: full and depthwise convolutions and matrix products, 1 to 2 ms on one core."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.Generator(np.random.PCG64(2))
    nodes, weights, channels, name = [], [], 3, "input"

    def weight(label: str, *shape: int) -> str:
        values = (generator.random(shape, dtype=np.float32) - 0.5) / np.float32(np.sqrt(np.prod(shape[1:])))
        weights.append(numpy_helper.from_array(values, label))
        return label

    for index, (width, stride) in enumerate(((32, 2), (64, 1), (64, 2), (128, 1), (128, 2))):
        kernel = weight(f"w{index}", width, channels, 3, 3)
        nodes += [
            helper.make_node("Conv", [name, kernel], [f"c{index}"], strides=[stride, stride], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{index}"], [f"r{index}"]),
            helper.make_node(
                "Conv", [f"r{index}", weight(f"d{index}", width, 1, 3, 3)], [f"x{index}"], group=width, pads=[1, 1, 1, 1]
            ),
        ]
        name, channels = f"x{index}", width
    nodes += [
        helper.make_node("GlobalAveragePool", [name], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", weight("g0", 128, 2048)], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", weight("g1", 2048, 128)], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "calibration",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 128])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="paretolens")
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def calibration_digest() -> str:
    """SHA-256 of the calibration model."""
    return hashlib.sha256(calibration_model()).hexdigest()


def calibration_session(threads: int = 1) -> Any:
    """A session of the calibration model with the options of every other session."""
    from paretolens.exporters.runner import open_session

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calibration.onnx"
        path.write_bytes(calibration_model())
        return open_session(path, threads=threads)
