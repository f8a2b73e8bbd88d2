"""Int8 by explicit fake quantisation: fold, place, calibrate, train on, freeze.

    report = quantise(model, example, settings, batches=...)   # post-training quantisation ends here
    distill(model, ..., stage="qat")                           # quantisation-aware training
    freeze(model)                                              # before export

The exported graph holds QuantizeLinear/DequantizeLinear pairs. Where they stand is the runtime's business: see `Placement`.
Softmax, layer norms, recurrent layers and outputs stay in float, gates and attention's products unless they are asked for; the
report lists every layer with the reason.
"""

import fnmatch
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.attention import MatMul
from paretolens.trainers.fake_quant import (
    ActivationQuantiser,
    Grid,
    Observer,
    QuantisedConv1d,
    QuantisedConv2d,
    QuantisedLinear,
    QuantisedMaxPool2d,
    QuantisedReLU,
    WeightQuantiser,
)
from paretolens.trainers.fold import fold_batch_norms
from paretolens.trainers.graph import Flow, trace_flow

__all__ = [
    "AttentionProducts",
    "Placement",
    "QuantiseReport",
    "QuantiseSettings",
    "QuantisedLayer",
    "calibrate",
    "freeze",
    "quantise",
    "quantisers_off",
]


class Placement(StrEnum):
    """Where quantisers stand, by the runtime that shall melt them into int8 operations."""

    AUTO = "auto"  # as the runtime that is timed needs it; here, by the device the model is on: CUDA means TensorRT
    ORT_CPU = "ort-cpu"  # uint8 activations, outputs of convolutions too: ONNX Runtime then runs QLinearConv
    TENSORRT = "tensorrt"  # int8, inputs of layers and of attention products only


class AttentionProducts(StrEnum):
    """Whether the two matrix products of attention run in int8."""

    PLACEMENT = "placement"  # as the runtime likes it: TensorRT yes, ONNX Runtime no
    INT8 = "int8"
    FLOAT = "float"


@dataclass(frozen=True, kw_only=True)
class QuantiseSettings:
    """What is quantised, and how the steps are found."""

    placement: Placement = Placement.AUTO
    """Runtime for which quantisers are placed."""
    attention: AttentionProducts = AttentionProducts.PLACEMENT
    """Precision of the attention's matrix products."""
    linear: bool = True
    """Quantise linear layers."""
    depthwise: bool = True
    """Quantise depthwise convolutions. Those left in float between rounded layers are rounded by ONNX Runtime all the same, with
    one step for all channels."""
    gates: bool = False
    """Quantise the gates of squeeze-and-excitation, which weigh channels by small differences and cost little."""
    keep: tuple[str, ...] = ("*.gate",)
    """Patterns of layers that stay in float, gates between sound and picture among them."""
    observer: Observer = Observer.AVERAGE
    """How the reach of activations is found."""
    momentum: Annotated[float, Gt(0), Le(1)] = 0.05
    """Weight of each new batch in the moving average."""
    percentile: Annotated[float, Gt(0), Le(1)] = 0.9999
    """Share of |x| that must lie within reach, for the percentile observer."""


@dataclass(frozen=True, kw_only=True)
class QuantisedLayer:
    """What happened to one layer."""

    path: str
    """Where it is."""
    kind: str
    """Its type."""
    quantised: bool
    """Whether it runs in int8."""
    reason: str = ""
    """Why it stays in float; empty where it does not."""


@dataclass(frozen=True, kw_only=True)
class QuantiseReport:
    """What quantising did to a model."""

    layers: tuple[QuantisedLayer, ...]
    """Every convolution, linear and recurrent layer, and every attention product."""
    folded: tuple[str, ...]
    """Batch norms that were folded."""

    @property
    def left_in_float(self) -> tuple[QuantisedLayer, ...]:
        """The layers that stay in float, with the reasons."""
        return tuple(layer for layer in self.layers if not layer.quantised)


def quantise(
    model: nn.Module, example: tuple[Tensor, ...], settings: QuantiseSettings, *, batches: Iterable[tuple[Tensor, ...]]
) -> QuantiseReport:
    """Fold batch norms, place quantisers and calibrate them, in place. Names and shapes of the parameters stay.

    Args:
        model: trained, float; it ends in eval mode with its quantisers on.
        example: inputs of one or two samples, for tracing.
        settings: what is quantised, and how.
        batches: inputs for calibration, in the model's order; at least one.

    Raises:
        ConfigurationError: the model is quantised already, or there is no batch.
        TrialError: batch norms cannot be folded.
    """
    if any(isinstance(module, ActivationQuantiser) for module in model.modules()):
        raise ConfigurationError("a model is quantised once; this one has quantisers already: start from the float model")
    folded = fold_batch_norms(model, example)
    placing = _Placing(model, settings, trace_flow(model, example))
    layers = tuple(placing.run())
    calibrate(model, batches)
    return QuantiseReport(layers=layers, folded=folded)


def calibrate(model: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Let the quantisers see the float model's activations; afterwards the model is in eval mode and they are on.

    Raises:
        ConfigurationError: there is no batch.
    """
    model.eval()
    quantisers = [module for module in model.modules() if isinstance(module, ActivationQuantiser)]
    count = 0
    with quantisers_off(model), torch.no_grad():
        for quantiser in quantisers:
            quantiser.training = True
        for batch in batches:
            model(*batch)
            count += 1
    model.eval()
    if not count:
        raise ConfigurationError("calibration needs at least one batch; got none: give some training clips")
    _tie_pools(model)


def freeze(model: nn.Module) -> None:
    """Fix all steps as they are, for evaluation and export; the model is in eval mode afterwards."""
    model.eval()
    _tie_pools(model)
    for module in model.modules():
        if isinstance(module, ActivationQuantiser):
            module.observing = False
        if isinstance(module, QuantisedConv1d | QuantisedConv2d | QuantisedLinear):
            module.weight_quantiser.freeze(module.weight)


@contextmanager
def quantisers_off(model: nn.Module) -> Iterator[nn.Module]:
    """The float twin for a while: the same weights without rounding, for instance for Integrated Gradients.

    Not for use from several threads: the quantisers of `model` itself are switched.
    """
    quantisers = [m for m in model.modules() if isinstance(m, ActivationQuantiser | WeightQuantiser)]
    were = [quantiser.enabled for quantiser in quantisers]
    for quantiser in quantisers:
        quantiser.enabled = False
    try:
        yield model
    finally:
        for quantiser, enabled in zip(quantisers, were, strict=True):
            quantiser.enabled = enabled


class _Placing:
    """Decides where quantisers stand, and puts them there."""

    def __init__(self, model: nn.Module, settings: QuantiseSettings, flow: Flow) -> None:
        self.model = model
        self.settings = settings
        self.flow = flow
        self.runtime = settings.placement if settings.placement is not Placement.AUTO else _runtime_of(model)

    def run(self) -> Iterator[QuantisedLayer]:
        """Quantise layer by layer in the model's order."""
        for path, module in list(self.model.named_modules()):
            kind = type(module).__name__.lower()
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                reason = self._why_float(path, module)
                if not reason:
                    self._place(path, module)
                yield QuantisedLayer(path=path, kind=kind, quantised=not reason, reason=reason)
            elif isinstance(module, nn.RNNBase):
                yield QuantisedLayer(
                    path=path, kind=kind, quantised=False, reason="recurrent: its rounding errors add up over time"
                )
            elif isinstance(module, MatMul):
                yield self._product(path, module)

    def _why_float(self, path: str, module: nn.Conv1d | nn.Conv2d | nn.Linear) -> str:
        if path in self.flow.outputs:
            return "output of the model"
        if any(fnmatch.fnmatch(path, pattern) for pattern in self.settings.keep):
            return "kept by a pattern: gates decide by small differences"
        if isinstance(module, nn.Linear):
            return "" if self.settings.linear else "linear layers are switched off"
        if module.groups == module.out_channels > 1 and not self.settings.depthwise:
            return "depthwise: one activation step does not fit its channels"
        return "gate of a squeeze-and-excitation" if not self.settings.gates and self._squeezed(path) else ""

    def _squeezed(self, path: str) -> bool:
        """Whether what comes in is a pooled map, through layers that work on one position."""
        source = self.flow.sources.get(path)
        while source is not None and self.flow.positions.get(source, 1) == 1:
            if isinstance(self.model.get_submodule(source), nn.AdaptiveAvgPool2d):
                return True
            source = self.flow.sources.get(source)
        return False

    def _place(self, path: str, module: nn.Conv1d | nn.Conv2d | nn.Linear) -> None:
        layer = _quantised(module)
        if not self._rounded_before(path):
            layer.input_quantiser = self._quantiser(signed=True)
        if self.runtime is Placement.ORT_CPU and not isinstance(module, nn.Linear) and not self._rounded_after(path):
            layer.output_quantiser = self._quantiser(signed=True)
        self.model.set_submodule(path, layer)

    def _rounded_before(self, path: str) -> bool:
        """Whether what comes in is already on a grid; a ReLU (and a pool behind it) is given one to make it so."""
        source = self.flow.sources.get(path)
        if source is None or self.runtime is not Placement.ORT_CPU:
            return False
        module = self.model.get_submodule(source)
        if isinstance(module, nn.ReLU):
            self._round_relu(source)
            return True
        if isinstance(module, nn.MaxPool2d):
            behind = self.flow.sources.get(source)
            if behind is not None and isinstance(self.model.get_submodule(behind), nn.ReLU):
                self._round_relu(behind)
                self._round_pool(source, behind)
                return True
        return bool(_output_quantiser(module))

    def _rounded_after(self, path: str) -> bool:
        """Whether a ReLU takes the output, and rounds it."""
        targets = self.flow.targets.get(path, ())
        if len(targets) != 1 or not isinstance(self.model.get_submodule(targets[0]), nn.ReLU):
            return False
        self._round_relu(targets[0])
        return True

    def _round_relu(self, path: str) -> None:
        module = self.model.get_submodule(path)
        if not isinstance(module, QuantisedReLU):
            layer = QuantisedReLU.of(module)
            layer.output_quantiser = self._quantiser(signed=False)
            self.model.set_submodule(path, layer)

    def _round_pool(self, path: str, relu: str) -> None:
        module = self.model.get_submodule(path)
        if not isinstance(module, QuantisedMaxPool2d):
            layer = QuantisedMaxPool2d.of(module)
            layer.output_quantiser = self._quantiser(signed=False)
            layer.steps_of = relu  # type: ignore[assignment]  # a plain attribute, which is recorded with the model
            self.model.set_submodule(path, layer)

    def _product(self, path: str, module: MatMul) -> QuantisedLayer:
        wanted = self.settings.attention is AttentionProducts.INT8 or (
            self.settings.attention is AttentionProducts.PLACEMENT and self.runtime is Placement.TENSORRT
        )
        if wanted:
            module.left, module.right = self._quantiser(signed=True), self._quantiser(signed=True)
        reason = "" if wanted else "attention products are in float on this runtime"
        return QuantisedLayer(path=path, kind="matmul", quantised=wanted, reason=reason)

    def _quantiser(self, *, signed: bool) -> ActivationQuantiser:
        grid = Grid.INT8
        if self.runtime is Placement.ORT_CPU:
            grid = Grid.UINT8 if signed else Grid.UINT8_POSITIVE
        settings = self.settings
        return ActivationQuantiser(
            grid=grid, observer=settings.observer, momentum=settings.momentum, percentile=settings.percentile
        )


def _runtime_of(model: nn.Module) -> Placement:
    on_gpu = next(model.parameters()).device.type == "cuda"
    return Placement.TENSORRT if on_gpu else Placement.ORT_CPU


def _quantised(module: nn.Conv1d | nn.Conv2d | nn.Linear) -> QuantisedConv1d | QuantisedConv2d | QuantisedLinear:
    if isinstance(module, nn.Linear):
        return QuantisedLinear.of(module)
    return QuantisedConv2d.of(module) if isinstance(module, nn.Conv2d) else QuantisedConv1d.of(module)


def _output_quantiser(module: nn.Module) -> ActivationQuantiser | None:
    found = getattr(module, "output_quantiser", None)
    return found if isinstance(found, ActivationQuantiser) else None


def _tie_pools(model: nn.Module) -> None:
    """Give each rounded pool the steps of the ReLU before it."""
    for module in model.modules():
        if isinstance(module, QuantisedMaxPool2d) and (mine := _output_quantiser(module)):
            source = _output_quantiser(model.get_submodule(str(vars(module)["steps_of"])))
            assert source is not None, "a pool is rounded only behind a rounded ReLU"
            mine.reach.copy_(source.reach)
