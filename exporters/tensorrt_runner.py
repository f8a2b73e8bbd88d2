"""Runs a TensorRT engine on the current CUDA device; torch holds the memory and the stream."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paretolens.errors import BackendError
from paretolens.exporters.tensorrt import Engine, make_logger
from paretolens.exporters.tensorrt_flavours import load_flavour

__all__ = ["EngineRunner"]


class EngineRunner:
    """Owns an execution context and the buffers of one batch size; belongs to one thread.

    Args:
        engine: As built by `build_engine`, with the library version that is installed.
        batch: Samples per run, within the engine's profile.

    Raises:
        BackendError: there is no GPU, another library version is installed, or the engine does not load on this device.
    """

    def __init__(self, engine: Engine, *, batch: int = 1) -> None:
        if not torch.cuda.is_available():
            raise BackendError("running a TensorRT engine needs an NVIDIA GPU, torch finds none: use the onnxruntime back end")
        flavour = load_flavour(engine.flavour)
        if flavour.version != engine.version:
            message = (
                f"the engine was built with {engine.flavour} {engine.version}, {flavour.version} is installed: build it again"
            )
            raise BackendError(message)
        self._library = flavour.module
        self._messages: list[str] = []
        self._runtime = self._library.Runtime(make_logger(self._library, self._messages))
        self._engine = self._runtime.deserialize_cuda_engine(engine.plan)
        self._context: Any = self._engine.create_execution_context() if self._engine is not None else None
        if self._context is None:
            reason = " ".join(self._messages[-1].split()) if self._messages else "no reason was given"
            raise BackendError(f"the engine does not load on {torch.cuda.get_device_name()} ({reason}): build it on this device")
        self.inputs: tuple[str, ...] = self._names(self._library.TensorIOMode.INPUT)
        self.tensors = self._allocate(batch)

    def enqueue(self) -> None:
        """One run on torch's current stream, on the tensors in place; does not wait for it.

        Raises:
            BackendError: the library refused the run.
        """
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise BackendError(
                f"the TensorRT engine did not run: {self._messages[-1] if self._messages else 'no reason was given'}"
            )

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Copy inputs (B, ...) in, run, and copy all outputs back; B is the batch the runner was made for."""
        for name, value in inputs.items():
            self.tensors[name].copy_(torch.from_numpy(np.ascontiguousarray(value)))
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.enqueue()
        stream.synchronize()
        return {name: tensor.cpu().numpy() for name, tensor in self.tensors.items() if name not in inputs}

    def _names(self, mode: Any) -> tuple[str, ...]:
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        return tuple(name for name in names if self._engine.get_tensor_mode(name) == mode)

    def _allocate(self, batch: int) -> dict[str, Tensor]:
        """A tensor on the device for every input (normal floats, zeros otherwise) and output, known to the context."""
        names = (*self.inputs, *self._names(self._library.TensorIOMode.OUTPUT))
        for name in self.inputs:
            shape = tuple(self._engine.get_tensor_shape(name))
            if not self._context.set_input_shape(name, (batch, *shape[1:])):
                raise BackendError(f"the engine does not take a batch of {batch}: build it with a wider profile")
        generator = torch.Generator(device="cuda").manual_seed(0)
        tensors: dict[str, Tensor] = {}
        for name in names:
            shape = tuple(self._context.get_tensor_shape(name))
            kind = self._torch_type(self._engine.get_tensor_dtype(name))
            tensor = torch.zeros(shape, dtype=kind, device="cuda")
            if name in self.inputs and kind.is_floating_point:
                tensor.normal_(generator=generator)
            self._context.set_tensor_address(name, tensor.data_ptr())
            tensors[name] = tensor
        return tensors

    def _torch_type(self, kind: Any) -> torch.dtype:
        types = self._library.DataType
        known = {
            types.FLOAT: torch.float32,
            types.HALF: torch.float16,
            types.BF16: torch.bfloat16,
            types.INT8: torch.int8,
            types.UINT8: torch.uint8,
            types.INT32: torch.int32,
            types.INT64: torch.int64,
            types.BOOL: torch.bool,
        }
        if kind not in known:
            raise BackendError(f"the engine has a tensor of type {kind}, which torch does not hold")
        return known[kind]
