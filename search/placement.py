"""Where quantisers stand in this study: as the runtime that is timed needs them."""

from dataclasses import replace

from paretolens.errors import ConfigurationError
from paretolens.evaluators.latency import Backend, probe
from paretolens.trainers.quantise import Placement, QuantiseSettings

__all__ = ["placed", "timed_backend"]


def timed_backend(backend: Backend) -> Backend:
    """The back end that `auto` means on this machine; any other is itself."""
    return probe().auto.backend if backend is Backend.AUTO else backend


def placed(settings: QuantiseSettings, backend: Backend) -> QuantiseSettings:
    """The settings with a placement that the timed runtime takes.

    Raises:
        ConfigurationError: another placement was asked for than TensorRT can run. ONNX Runtime runs both, one of them slower.
    """
    on_tensorrt = timed_backend(backend) is Backend.TENSORRT
    if settings.placement is Placement.AUTO:
        return replace(settings, placement=Placement.TENSORRT if on_tensorrt else Placement.ORT_CPU)
    if on_tensorrt and settings.placement is not Placement.TENSORRT:
        raise ConfigurationError(
            f"student.quantise.placement is {settings.placement}: TensorRT is timed and takes int8 inputs of layers only; "
            f"set it to auto or tensorrt, or time another runtime with latency.backend"
        )
    return settings
