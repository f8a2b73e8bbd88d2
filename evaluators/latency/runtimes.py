"""What is timed: one object per back end, with a `run` and the facts about it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError
from paretolens.evaluators.latency.copies import Copies
from paretolens.evaluators.latency.device import cpu_name
from paretolens.evaluators.latency.settings import LatencySettings

if TYPE_CHECKING:
    from paretolens.exporters.tensorrt import Engine

__all__ = ["ENGINE", "Timed", "onnxruntime_run", "tensorrt_run", "torch_run"]

ENGINE = ".engine"
"""Suffix of a built TensorRT engine."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A model that is ready to run."""

    run: Callable[[], object]
    """One run. On a GPU it only enqueues work on the current stream, for tensors that are there."""
    gpu: str | None = None
    """UUID of the GPU that runs it; None = the processor."""
    copies: Copies | None = None
    """Transfers of one run's inputs and outputs, on a GPU."""
    runtime: str
    """Library and version."""
    device: str
    """Name of the processor or GPU."""
    precision: str
    """`fp32`, `tf32`, `fp16` or `int8`."""

    @property
    def on_gpu(self) -> bool:
        """Whether CUDA events time it."""
        return self.gpu is not None

    def repeat(self, count: int) -> None:
        """So many runs, one after another; returns when the last one is done."""
        for _ in range(count):
            self.run()
        if self.on_gpu:
            torch.cuda.synchronize()


@contextmanager
def onnxruntime_run(path: Path, settings: LatencySettings) -> Iterator[Timed]:
    """ONNX Runtime on the CPU."""
    import onnxruntime

    from paretolens.exporters.onnx import read_precision
    from paretolens.exporters.probe_inputs import probe_inputs
    from paretolens.exporters.runner import open_session

    session = open_session(path, threads=settings.threads)
    inputs = probe_inputs(session, batch=settings.batch)
    yield Timed(
        run=lambda: session.run(None, inputs),
        runtime=f"onnxruntime {onnxruntime.__version__}",
        device=cpu_name(),
        precision=read_precision(path),
    )


@contextmanager
def tensorrt_run(path: Path, settings: LatencySettings) -> Iterator[Timed]:
    """TensorRT on the current GPU, from an ONNX file or a built engine."""
    from paretolens.exporters.tensorrt_runner import EngineRunner

    engine = _engine(path, settings)
    runner = EngineRunner(engine, batch=settings.batch)
    yield Timed(
        run=runner.enqueue,
        gpu=_uuid(torch.device("cuda")),
        copies=Copies.of(runner.tensors, runner.inputs),
        runtime=f"{engine.flavour} {engine.version}",
        device=torch.cuda.get_device_name(),
        precision=engine.precision,
    )


def _engine(path: Path, settings: LatencySettings) -> "Engine":
    from paretolens.exporters.tensorrt import EngineSettings, build_engine
    from paretolens.exporters.tensorrt_files import load_engine

    if path.suffix == ENGINE:
        engine, batch = load_engine(path, device=torch.cuda.get_device_name()), settings.batch
        low, high = engine.settings.min_batch, engine.settings.max_batch
        if not low <= batch <= high:
            raise ConfigurationError(f"engine {path}: takes batches of {low} to {high}, got {batch}: build another or choose one")
        return engine
    cache = settings.tensorrt_timing_cache
    wanted = EngineSettings(
        min_batch=settings.batch, opt_batch=settings.batch, max_batch=settings.batch,
        workspace_mb=settings.tensorrt_workspace_mb, timing_cache=None if cache is None else Path(cache),
    )  # fmt: skip
    return build_engine(path, settings=wanted)


@contextmanager
def torch_run(model: nn.Module, example: Sequence[Tensor] | None, settings: LatencySettings) -> Iterator[Timed]:
    """Torch on the device of the model, in evaluation mode; threads and modes are restored after."""
    from paretolens.exporters.modes import evaluating

    if not example:
        raise ConfigurationError("timing a torch model needs `example`, one tensor per input, got none")
    device = next((value.device for value in model.parameters()), torch.device("cpu"))
    if device.type not in ("cpu", "cuda"):
        raise BackendError(f"torch is timed on a CPU or a CUDA device, got {device}: move the model")
    inputs = [tensor[:1].expand(settings.batch, *tensor.shape[1:]).contiguous().to(device) for tensor in example]
    kinds = {value.dtype for value in model.parameters()}
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        with evaluating(model), torch.inference_mode():
            yield Timed(
                run=lambda: model(*inputs),
                gpu=_uuid(device) if device.type == "cuda" else None,
                runtime=f"torch {torch.__version__}",
                device=torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
                precision="fp16" if torch.float16 in kinds or torch.bfloat16 in kinds else "fp32",
            )
    finally:
        torch.set_num_threads(threads)


def _uuid(device: torch.device) -> str:
    """A GPU as NVML knows it; the number that torch gives it is another one where some are hidden."""
    return str(torch.cuda.get_device_properties(device).uuid)
