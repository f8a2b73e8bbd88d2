"""What this machine can time on: GPUs, TensorRT, ONNX Runtime, torch, and why not where it cannot."""

from dataclasses import dataclass

from paretolens.evaluators.latency.device import cpu_name
from paretolens.evaluators.latency.settings import Backend

__all__ = ["BackendProbe", "Probe", "probe"]


@dataclass(frozen=True, kw_only=True)
class BackendProbe:
    """One back end on this machine."""

    backend: Backend
    """Which one; never AUTO."""
    usable: bool
    """Whether latency can be measured with it."""
    versions: tuple[str, ...]
    """Libraries found, with their versions."""
    reason: str
    """Why it is or is not usable."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """This machine."""

    cpu: str
    """Name of the processor."""
    gpus: tuple[str, ...]
    """Names of the CUDA devices that torch can use."""
    providers: tuple[str, ...]
    """Execution providers of ONNX Runtime."""
    backends: tuple[BackendProbe, ...]
    """TensorRT, ONNX Runtime and torch, in the order AUTO prefers them."""

    def of(self, backend: Backend) -> BackendProbe:
        """The entry of one back end."""
        return next(entry for entry in self.backends if entry.backend is backend)

    @property
    def auto(self) -> BackendProbe:
        """What AUTO takes for an ONNX file: TensorRT if it is usable, else ONNX Runtime."""
        tensorrt = self.of(Backend.TENSORRT)
        return tensorrt if tensorrt.usable else self.of(Backend.ONNXRUNTIME)


def probe() -> Probe:
    """Look at this machine; nothing is measured and no error is raised."""
    gpus = _gpus()
    providers, runtime = _onnxruntime()
    return Probe(cpu=cpu_name(), gpus=gpus, providers=providers, backends=(_tensorrt(gpus), runtime, _torch(gpus)))


def _gpus() -> tuple[str, ...]:
    import torch

    if not torch.cuda.is_available():
        return ()
    return tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def _tensorrt(gpus: tuple[str, ...]) -> BackendProbe:
    from paretolens.exporters.tensorrt import flavours

    found = flavours()
    versions = tuple(f"{flavour.name} {flavour.version}" for flavour in found if flavour.usable)
    if not versions:
        reason = "; ".join(f"{flavour.name}: {flavour.reason}" for flavour in found)
    elif not gpus:
        reason = f"{versions[0]} is installed, but there is no NVIDIA GPU: engines can be built and parsed, not run"
    else:
        reason = f"{versions[0]} on {gpus[0]}"
    return BackendProbe(backend=Backend.TENSORRT, usable=bool(versions and gpus), versions=versions, reason=reason)


def _onnxruntime() -> tuple[tuple[str, ...], BackendProbe]:
    try:
        import onnxruntime
    except ImportError as error:
        entry = BackendProbe(
            backend=Backend.ONNXRUNTIME,
            usable=False,
            versions=(),
            reason=f"cannot be imported ({error}): pip install onnxruntime",
        )
        return (), entry
    version = f"onnxruntime {onnxruntime.__version__}"
    return tuple(onnxruntime.get_available_providers()), BackendProbe(
        backend=Backend.ONNXRUNTIME, usable=True, versions=(version,), reason=f"{version} on {cpu_name()}"
    )


def _torch(gpus: tuple[str, ...]) -> BackendProbe:
    import torch

    version = f"torch {torch.__version__}"
    device = gpus[0] if gpus else cpu_name()
    return BackendProbe(backend=Backend.TORCH, usable=True, versions=(version,), reason=f"{version} on {device}")
