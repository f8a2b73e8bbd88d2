"""ONNX Runtime sessions: one place for the options that make runs repeatable and quantised models right."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.errors import BackendError, IntegrityError
from paretolens.exporters.session_options import session_options

__all__ = ["OnnxRunner", "open_session"]


def open_session(path: Path, *, threads: int = 1, optimise: bool = True) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU, with the options of `session_options`.

    Args:
        path: ONNX file.
        threads: Threads within an operator; operators run one after another.
        optimise: False runs the graph as it is written (ORT_DISABLE_ALL), which is what parity is measured on.

    Raises:
        IntegrityError: the file is missing or is not an ONNX model.
        BackendError: the runtime cannot run the model.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    if not path.is_file():
        raise IntegrityError(f"model {path}: no such file; export it again")
    options = session_options(threads)
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (state.InvalidProtobuf, state.NoSuchFile, state.InvalidGraph) as error:
        raise IntegrityError(f"model {path}: not a valid ONNX file ({_short(error)}); export it again") from error
    except (state.Fail, state.NotImplemented, state.InvalidArgument, state.RuntimeException, state.EPFail) as error:
        raise BackendError(
            f"model {path}: ONNX Runtime cannot run it ({_short(error)}); export another opset or model"
        ) from error


class OnnxRunner:
    """Runs an exported model; one instance belongs to one thread.

    Args:
        path: ONNX file.
        threads: Threads within an operator.
        optimise: False runs the graph exactly as it is written.

    Raises:
        IntegrityError: the file is missing or damaged.
        BackendError: the runtime cannot run the model.
    """

    def __init__(self, path: Path, *, threads: int = 1, optimise: bool = True) -> None:
        self.path = path
        self.session = open_session(path, threads=threads, optimise=optimise)
        self.input_names: tuple[str, ...] = tuple(node.name for node in self.session.get_inputs())
        self.output_names: tuple[str, ...] = tuple(node.name for node in self.session.get_outputs())

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name.

        Args:
            inputs: Per input name (B, ...), any B ≥ 1, in the dtypes of the graph.

        Raises:
            BackendError: an input is missing, unknown or of another shape or dtype.
        """
        given, wanted = set(inputs), set(self.input_names)
        if given != wanted:
            raise BackendError(f"model {self.path.name} takes the inputs {sorted(wanted)}, got {sorted(given)}: name them so")
        try:
            values = self.session.run(None, {name: np.ascontiguousarray(inputs[name]) for name in self.input_names})
        except Exception as error:  # the runtime's exceptions share no base of their own
            raise BackendError(f"model {self.path.name}: the run failed ({_short(error)}); check the inputs' shapes") from error
        return dict(zip(self.output_names, values, strict=True))


def _short(error: Exception) -> str:
    """First line of a runtime's message, without its boilerplate."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return text.rpartition(" : ")[2][:300]
