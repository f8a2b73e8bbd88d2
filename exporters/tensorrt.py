"""TensorRT engines from ONNX: strongly typed, so that the graph's own types (FP32, FP16, Q/DQ) decide the precision.

Parsing and building need no GPU with TensorRT-RTX; running does (`tensorrt_runner`). An engine belongs to the library version
and, for `tensorrt`, to the kind of GPU that it was built on: both are kept beside it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt

from paretolens.errors import BackendError, ConfigurationError
from paretolens.exporters.files import sha256_of, write_atomic
from paretolens.exporters.tensorrt_flavours import Flavour, flavours, load_flavour
from paretolens.exporters.tensorrt_graph import EnginePrecision, TensorRTGraph, tensorrt_graph

__all__ = [
    "Engine",
    "EnginePrecision",
    "EngineSettings",
    "build_engine",
    "check_operators",
    "flavours",
    "load_flavour",
    "tensorrt_graph",
]


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How an engine is built."""

    flavour: str | None = None
    """`tensorrt` or `tensorrt_rtx`; None = the first that is installed."""
    precision: EnginePrecision = EnginePrecision.TRAINED
    """What it computes in."""
    min_batch: Annotated[int, Ge(1)] = 1
    """Smallest batch of the optimisation profile."""
    opt_batch: Annotated[int, Ge(1)] = 1
    """Batch that the engine is tuned for."""
    max_batch: Annotated[int, Ge(1)] = 8
    """Largest batch of the optimisation profile."""
    workspace_mb: Annotated[float, Gt(0)] = 1024.0
    """Memory that tactics may use, in MiB."""
    timing_cache: Path | None = None
    """File in which measured tactics are kept, so that the next build of such layers is faster and chooses the same; it is made
    where there is none. It belongs to the library version and the GPU: that of others is refused. None = none."""

    def __post_init__(self) -> None:
        if not self.min_batch <= self.opt_batch <= self.max_batch:
            got = f"{self.min_batch}, {self.opt_batch}, {self.max_batch}"
            raise ConfigurationError(f"batches must be ordered, min_batch <= opt_batch <= max_batch, got {got}")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A built engine in memory."""

    plan: bytes
    """The serialised engine."""
    flavour: str
    """Library it was built with."""
    version: str
    """Version of that library; no other can load it."""
    layers: int
    """Layers of the parsed network, before fusion."""
    inputs: tuple[str, ...]
    """Names of the inputs."""
    outputs: tuple[str, ...]
    """Names of the outputs."""
    onnx_sha256: str
    """Checksum of the ONNX file it was built from."""
    precision: str
    """`fp32`, `tf32`, `fp16` or `int8`, as in `TensorRTGraph`."""
    tf32: bool
    """Whether the library may round FP32 products to 10 bits; read back from it."""
    coarser: int
    """Quantisers and dequantisers, each counted, with half as many levels as in the file, since they had no sign there."""
    settings: EngineSettings
    """How it was built."""


def build_engine(path: Path, *, settings: EngineSettings | None = None) -> Engine:
    """Parse an ONNX file and build an engine.

    Args:
        path: ONNX file; the first axis of its inputs may be dynamic.
        settings: Flavour, batches, workspace.

    Raises:
        IntegrityError: the file is missing or is not ONNX.
        BackendError: no TensorRT is installed, an operator is not supported (it is named), the build failed, or the timing cache
            is of another library version or GPU.
        StoreError: the timing cache cannot be written.
    """
    chosen = settings or EngineSettings()
    flavour = load_flavour(chosen.flavour)
    graph = tensorrt_graph(path, chosen.precision)
    with _parsed(path, graph, flavour) as (builder, network, messages):
        config = builder.create_builder_config()
        tf32 = _allow_tf32(config, flavour, allow=chosen.precision is EnginePrecision.TF32)
        config.set_memory_pool_limit(flavour.module.MemoryPoolType.WORKSPACE, int(chosen.workspace_mb * 2**20))
        config.add_optimization_profile(_profile(builder, network, chosen))
        with _timing_cache(config, chosen.timing_cache, flavour):
            plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise BackendError(f"{flavour.name} {flavour.version} cannot build {path.name}: {_last(messages)}")
        return Engine(
            plan=bytes(plan),
            flavour=flavour.name,
            version=flavour.version,
            layers=int(network.num_layers),
            inputs=tuple(network.get_input(index).name for index in range(network.num_inputs)),
            outputs=tuple(network.get_output(index).name for index in range(network.num_outputs)),
            onnx_sha256=sha256_of(path),
            precision=graph.precision,
            tf32=tf32,
            coarser=graph.resigned.coarser,
            settings=replace(chosen, timing_cache=None),  # a file of this machine says nothing about the engine
        )


def check_operators(
    path: Path, *, flavour: str | None = None, precision: EnginePrecision = EnginePrecision.TRAINED
) -> TensorRTGraph:
    """Parse an ONNX file and build nothing: whether TensorRT knows every operator, in a moment and without a GPU (TensorRT-RTX).

    Returns:
        The graph that was parsed.

    Raises:
        IntegrityError: the file is missing or is not ONNX.
        BackendError: no TensorRT is installed, or an operator is not supported (it is named).
    """
    library, graph = load_flavour(flavour), tensorrt_graph(path, precision)
    with _parsed(path, graph, library):
        return graph


def _allow_tf32(config: Any, flavour: Flavour, *, allow: bool) -> bool:
    """TF32 is on unless it is switched off, and errs by about 1e-3; returns what the library then says."""
    flag = flavour.module.BuilderFlag.TF32
    config.set_flag(flag) if allow else config.clear_flag(flag)
    return bool(config.get_flag(flag))


@contextmanager
def _timing_cache(config: Any, path: Path | None, flavour: Flavour) -> Iterator[None]:
    """Let a build use the tactics that a file holds, and keep there what it measured."""
    if path is None:
        yield
        return
    try:
        stored = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise BackendError(f"timing cache {path}: cannot be read ({error.strerror}); name another file") from error
    cache = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        here = f"{flavour.name} {flavour.version}"
        raise BackendError(f"timing cache {path}: is not of {here} on this device; name another file or remove it")
    yield
    write_atomic(path, bytes(cache.serialize()))


@contextmanager
def _parsed(path: Path, graph: TensorRTGraph, flavour: Flavour) -> Iterator[tuple[Any, Any, list[str]]]:
    """Builder, parsed network, and the messages the library logs. The parser must outlive the network's use."""
    library = flavour.module
    messages: list[str] = []
    logger = make_logger(library, messages)
    try:
        builder = library.Builder(logger)
        network = builder.create_network(_network_flags(library))
    except (RuntimeError, TypeError) as error:  # no driver, or not the one it needs
        raise BackendError(f"{flavour.name} {flavour.version} cannot start: {_last(messages) or error}") from error
    parser = library.OnnxParser(network, logger)
    if not parser.parse(graph.content):
        raise BackendError(f"{flavour.name} {flavour.version} does not take {path.name}: {_parser_errors(parser)}")
    yield builder, network, messages
    del parser


def make_logger(library: Any, messages: list[str]) -> Any:
    """A logger that keeps warnings and errors instead of printing them."""

    class Collector(library.ILogger):
        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(library.ILogger.Severity.ERROR):
                messages.append(message)

    return Collector()


def _network_flags(library: Any) -> int:
    """Strongly typed: version 10 needs the flag, later versions know nothing else."""
    flag = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _profile(builder: Any, network: Any, settings: EngineSettings) -> Any:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        rest = tuple(tensor.shape)[1:]
        if any(size < 0 for size in rest):
            raise BackendError(f"input {tensor.name} must have a fixed shape but for the batch, got {tuple(tensor.shape)}")
        if tensor.shape[0] < 0:
            profile.set_shape(
                tensor.name, *((batch, *rest) for batch in (settings.min_batch, settings.opt_batch, settings.max_batch))
            )
    return profile


def _parser_errors(parser: Any) -> str:
    """The operators and nodes that the parser refused, in one line."""
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        operator, node = error.node_operator() or "?", error.node_name() or "?"
        reason = str(error.desc()).strip().splitlines()
        found.append(f"operator {operator} (node {node}): {reason[0] if reason else 'not supported'}")
    return "; ".join(dict.fromkeys(found)) or "the file is not valid ONNX"


def _last(messages: list[str]) -> str:
    return " ".join(messages[-1].split())[:300] if messages else "no reason was given"
