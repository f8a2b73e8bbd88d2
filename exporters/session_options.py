"""Options of ONNX Runtime sessions: repeatable runs, and int8 products that are exact. Bundles carry this file too."""

import base64
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["int8_products_saturate", "session_options"]

_PROBE = base64.b64decode(
    "CAg62wIKMAoCd3MSAXciD0NvbnN0YW50T2ZTaGFwZSoWCgV2YWx1ZSoKCAEQAyoBf0IBdqABBAowCgJtcxIBbSIPQ29uc3RhbnRPZlNoYXBlKhYKBXZhbHVl"
    "KgoIARADKgF/QgF2oAEECigKAXgKAXMKAXoKAXcKAXMKAWkKAXQKAXoSAXkiC1FMaW5lYXJDb252ChgKAWEKAW0SAWIiDU1hdE11bEludGVnZXISAWcqDggE"
    "EAc6BBAQAQFCAndzKgwIAhAHOgIQEEICbXMqCxABIgQAAIA/QgFzKgsQASIEzewhRUIBdCoIEAIqAQBCAXoqCBADKgEAQgFpWhsKAXgSFgoUCAISEAoCCAEK"
    "AggQCgIIBAoCCARaEwoBYRIOCgwIAhIICgIIBAoCCBBiGwoBeRIWChQIAhIQCgIIAQoCCBAKAggECgIIBGITCgFiEg4KDAgGEggKAggECgIIEEIECgAQDQ=="
)
"""ONNX: y = QLinearConv(x) and b = MatMulInteger(a), 16 channels, every weight 127, y in steps of 2590.8; tests build it anew."""


def session_options(threads: int = 1) -> Any:
    """`onnxruntime.SessionOptions`: idle threads do not spin, operators run one after another, int8 products are exact.

    Without VNNI an x64 processor adds two products of 8 bits in 16, which overflow: with full-range weights up to 85 steps were
    lost. There products of unsigned integers are asked for, which are exact and slower. Where nothing overflows that is not done:
    on a processor with VNNI it takes two to three times as long (`make bench-ship`).

    Args:
        threads: Threads within an operator.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if int8_products_saturate():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


@lru_cache(maxsize=1)
def int8_products_saturate() -> bool:
    """Whether this processor's fast products of uint8 and int8 overflow: the largest ones are tried, in some milliseconds."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_PROBE, options, providers=["CPUExecutionProvider"])
    largest = {"x": np.full((1, 16, 4, 4), 255, np.uint8), "a": np.full((4, 16), 255, np.uint8)}
    convolved, multiplied = session.run(["y", "b"], largest)
    return not (np.all(convolved == 200) and np.all(multiplied == 16 * 255 * 127))
