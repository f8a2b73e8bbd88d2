"""Inputs that fit a model, made without data: for timing, memory and smoke tests."""

from typing import TYPE_CHECKING, Any

import numpy as np

from paretolens.errors import BackendError

if TYPE_CHECKING:
    from torch import Tensor

    from paretolens.models.signature import Signature

__all__ = ["probe_inputs", "probe_tensors"]

_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}


def probe_inputs(session: Any, *, batch: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    """Standard normal floats, False masks (nothing is ignored) and zero integers, by input name.

    Args:
        session: `onnxruntime.InferenceSession`; its first axes may be dynamic, no other axis may.
        batch: Size of the dynamic axes.
        seed: Of the normal values.

    Raises:
        BackendError: an input has a dynamic axis other than the first, or an unknown type.
    """
    generator = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {}
    for node in session.get_inputs():
        shape = [batch if not isinstance(size, int) and axis == 0 else size for axis, size in enumerate(node.shape)]
        if not all(isinstance(size, int) for size in shape):
            raise BackendError(f"input {node.name} must have a fixed shape but for the batch, got {node.shape}: export it so")
        if node.type in _FLOATS:
            made[node.name] = generator.standard_normal(shape).astype(_FLOATS[node.type])
        elif node.type == "tensor(bool)":
            made[node.name] = np.zeros(shape, dtype=bool)
        elif node.type in _INTEGERS:
            made[node.name] = np.zeros(shape, dtype=_INTEGERS[node.type])
        else:
            raise BackendError(f"input {node.name} must hold floats, integers or bools, got {node.type}")
    return made


def probe_tensors(signature: "Signature", *, batch: int = 2, seed: int = 0) -> "tuple[Tensor, ...]":
    """The same for a torch model: standard normal floats and False masks, (batch, *shape) each, in the signature's order."""
    import torch  # not above: the process that measures memory must do without it

    from paretolens.models.signature import InputKind

    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.zeros(batch, *spec.shape, dtype=torch.bool)
        if spec.kind is InputKind.MASK
        else torch.randn(batch, *spec.shape, generator=generator)
        for spec in signature.inputs
    )
