"""A torch model as a self-contained ONNX file with a dynamic batch."""

import hashlib
import io
import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paretolens import __version__
from paretolens.errors import BackendError, ConfigurationError, IntegrityError
from paretolens.exporters.files import write_atomic
from paretolens.exporters.modes import evaluating, uninterrupted
from paretolens.exporters.runner import OnnxRunner, open_session
from paretolens.models.aware import Cascade
from paretolens.models.signature import InputKind, Signature, Verdict

__all__ = [
    "OPSET",
    "OnnxArtefact",
    "OnnxRunner",
    "evaluating",
    "export_onnx",
    "load_graph",
    "open_session",
    "precision_of_graph",
    "read_precision",
]

OPSET = 17
"""ONNX Runtime fails on Q/DQ of opset 21 when it optimises, TensorRT takes 13–20."""


@dataclass(frozen=True, kw_only=True)
class OnnxArtefact:
    """An exported file and what is in it."""

    path: Path
    """The .onnx file; weights are inside."""
    size_bytes: int
    """Size on disk."""
    sha256: str
    """Checksum of the file."""
    opset: int
    """Version of the ONNX operator set."""
    operators: Mapping[str, int]
    """How often each operator occurs."""
    precision: str
    """`int8` if the graph holds Q/DQ nodes, `fp16` if its weights are half floats, else `fp32`."""
    folded: int
    """Weights stored as int8."""


def export_onnx(
    model: nn.Module, signature: Signature, example: Sequence[Tensor], path: Path, opset: int = OPSET
) -> OnnxArtefact:
    """Write `model` to `path`; the file appears whole or not at all.

    Args:
        model: Called as `model(*inputs)`; exported in evaluation mode, its own mode is left as it was.
        signature: Names of inputs and outputs in order.
        example: One tensor per input with a batch of 1 or more.
        path: Where the file goes.
        opset: ONNX operator set, 13 to 20.

    Raises:
        ConfigurationError: the example does not fit the signature, or the opset is outside of 13–20.
        BackendError: the model has an operation that cannot be exported; it is named.
        StoreError: the file cannot be written.
    """
    import onnx

    _check(signature, example, opset)
    proto, folded = _graph(model, signature, example, opset)
    _name_all_inputs(proto, signature)
    proto.producer_name, proto.producer_version = "paretolens", __version__
    onnx.helper.set_model_props(proto, {"producer": f"paretolens {__version__}", "signature": json.dumps(signature.to_plain())})
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BackendError(f"{type(model).__name__}: the exported graph is not valid ONNX ({error})") from error
    content = proto.SerializeToString(deterministic=True)
    write_atomic(path, content)
    operators = Counter(node.op_type for node in proto.graph.node)
    return OnnxArtefact(
        path=path,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        opset=opset,
        operators=dict(sorted(operators.items())),
        precision=precision_of_graph(proto, operators),
        folded=folded,
    )


def _graph(model: nn.Module, signature: Signature, example: Sequence[Tensor], opset: int) -> tuple[Any, int]:
    """The graph of a model and how many of its weights are stored as int8; a cascade's runs its second stage where it must."""
    import onnx

    from paretolens.exporters.cascade import join_stages
    from paretolens.exporters.fold import fold_weights
    from paretolens.exporters.stems import spread_stems

    if isinstance(model, Cascade):
        alone = replace(signature, outputs=Verdict._fields)
        with evaluating(model):
            parts = [_graph(stage, alone, example, opset) for stage in model.stages()]
        joined = join_stages(parts[0][0], parts[1][0], low=model.low, high=model.high)
        return joined, parts[0][1] + parts[1][1]
    proto = onnx.load_from_string(_trace(model, signature, example, opset))
    folded = fold_weights(proto)
    spread_stems(proto)
    return proto, folded


def read_precision(path: Path) -> str:
    """`int8`, `fp16` or `fp32` of an ONNX file, as in `OnnxArtefact.precision`.

    Raises:
        IntegrityError: the file is missing or is not ONNX.
    """
    proto = load_graph(path)
    return precision_of_graph(proto, Counter(node.op_type for node in proto.graph.node))


def load_graph(path: Path) -> Any:
    """An ONNX file as an `onnx.ModelProto`.

    Raises:
        IntegrityError: the file is missing or is not ONNX.
    """
    import onnx

    if not path.is_file():
        raise IntegrityError(f"model {path}: no such file; export it again")
    try:
        return onnx.load(path)
    except Exception as error:  # the parser's DecodeError has no base and no module of its own to import it from
        raise IntegrityError(f"model {path}: cannot be read as ONNX ({error}); export it again") from error


def _check(signature: Signature, example: Sequence[Tensor], opset: int) -> None:
    if not 13 <= opset <= 20:
        raise ConfigurationError(f"opset must lie in 13–20 so that ONNX Runtime and TensorRT take it, got {opset}")
    if len(example) != len(signature.inputs):
        names = [spec.name for spec in signature.inputs]
        raise ConfigurationError(f"the example needs one tensor for each of {names}, got {len(example)}")
    for spec, tensor in zip(signature.inputs, example, strict=True):
        if tuple(tensor.shape[1:]) != spec.shape:
            message = (
                f"input {spec.name} must have the shape (batch, {', '.join(map(str, spec.shape))}), got {tuple(tensor.shape)}"
            )
            raise ConfigurationError(message)


def _trace(model: nn.Module, signature: Signature, example: Sequence[Tensor], opset: int) -> bytes:
    """The TorchScript-based exporter: 20 times faster than the dynamo one, and takes fake-quantised weights as they are."""
    names = [spec.name for spec in signature.inputs]
    stream = io.BytesIO()
    with evaluating(model), uninterrupted(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # it announces its own deprecation; shapes fixed by tracing are caught by the parity check
        try:
            torch.onnx.export(
                model,
                tuple(example),
                stream,  # type: ignore[arg-type]  # the TorchScript exporter writes to streams, the dynamo one only to files
                input_names=names,
                output_names=list(signature.outputs),
                dynamic_axes={name: {0: "batch"} for name in (*names, *signature.outputs)},
                opset_version=opset,
                dynamo=False,
            )
        except (RuntimeError, ValueError, TypeError) as error:  # torch.onnx's own errors are RuntimeErrors
            reason = str(error).strip().splitlines()[0]
            raise BackendError(f"{type(model).__name__} cannot be exported to ONNX: {reason}") from error
    return stream.getvalue()


def _name_all_inputs(proto: Any, signature: Signature) -> None:
    """Give the graph every input of the signature in order: tracing drops those that the model does not read."""
    import onnx

    traced = {node.name: node for node in proto.graph.input}
    inputs = []
    for spec in signature.inputs:
        kind = onnx.TensorProto.BOOL if spec.kind is InputKind.MASK else onnx.TensorProto.FLOAT
        inputs.append(traced.get(spec.name) or onnx.helper.make_tensor_value_info(spec.name, kind, ["batch", *spec.shape]))
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)


def precision_of_graph(proto: Any, operators: Mapping[str, int]) -> str:
    """`int8` of a graph that holds DequantizeLinear, `fp16` of one with more weights in half precision than not, else `fp32`."""
    import onnx

    if "DequantizeLinear" in operators:
        return "int8"
    sizes = Counter[int]()
    for tensor in proto.graph.initializer:
        sizes[tensor.data_type] += math.prod(tensor.dims)
    return "fp16" if sizes[onnx.TensorProto.FLOAT16] > sizes[onnx.TensorProto.FLOAT] else "fp32"
