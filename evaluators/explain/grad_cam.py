"""Grad-CAM on a named layer (Selvaraju et al., ICCV 2017, equations 1 and 2), by Captum.

Σ_c α_c·F_c with F the layer's feature maps and α_c the mean of ∂f/∂F_c over their places. The final ReLU of the paper is left to
the evidence map, which takes what speaks for the teacher's verdict.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError, TrialError
from paretolens.evaluators.explain.attribution import Attribution
from paretolens.evaluators.explain.coarse import picture_map, sound_map
from paretolens.evaluators.explain.forward import ClassLogit, end_logits, held_still, logits
from paretolens.naming import nearest_hint

__all__ = ["GradCam", "feature_layers"]

FINE_ENOUGH = 4
"""Least side of a feature map that is worth a map: 2 × 2 says top or bottom, left or right, and no more."""
SOUND_AXES, PICTURE_AXES = 3, 4
"""(B, C, L) and (N, C, h, w)."""


@dataclass(frozen=True, kw_only=True)
class GradCam:
    """The explainer: call it as `explainer(model, inputs, baseline)`."""

    layer: str | None = None
    """Path of the module; None = the last one whose feature map has at least 4 × 4 places."""
    chunk: Annotated[int, Ge(1)] = 20
    """Samples that go through the model at once."""

    def __call__(self, model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Attribution:
        """Explain a batch; only the input that the layer sees gets a map.

        Raises:
            ConfigurationError: the model has no such layer; those with feature maps are named.
            BackendError: the layer gives no feature map, or its output does not reach the logit.
            TrialError: gradients or logits are not finite.
        """
        with held_still(model):
            name = self._layer_of(model, inputs)
            parts = [
                self._explain(model, name, [x[i : i + self.chunk] for x in inputs]) for i in range(0, len(inputs[0]), self.chunk)
            ]
            ends = end_logits(model, inputs, baseline, self.chunk)
        found = torch.cat([part for _, part in parts])
        if not bool(torch.isfinite(found).all()):
            raise TrialError(f"{type(model).__name__} gives gradients that are not finite; lower its learning rate")
        maps = [found if index == parts[0][0] else None for index in range(len(inputs))]
        return Attribution.of_maps(maps, ends, nodes=1, signed=True)

    def _layer_of(self, model: nn.Module, inputs: Sequence[Tensor]) -> str:
        found = feature_layers(model, inputs)
        if self.layer is None:
            fine = [
                name
                for name, shape in convolutional(model, found).items()
                if len(shape) >= PICTURE_AXES and min(shape[-2:]) >= FINE_ENOUGH
            ]
            if not fine:
                raise BackendError(
                    f"{type(model).__name__} has no feature map of at least 4 × 4 places; name a layer: {listed(model, found)}"
                )
            return fine[-1]
        if isinstance(model, ClassLogit) and f"classifier.{self.layer}" in found:
            return f"classifier.{self.layer}"
        if self.layer not in dict(model.named_modules()):
            near = nearest_hint(self.layer, convolutional(model, found))
            raise ConfigurationError(
                f"Grad-CAM layer {self.layer!r} is not in {type(model).__name__}{near}; its layers: {listed(model, found)}"
            )
        if self.layer not in found:
            raise BackendError(
                f"Grad-CAM layer {self.layer!r} of {type(model).__name__} gives no feature map; "
                f"those that do: {listed(model, found)}"
            )
        return self.layer

    def _explain(self, model: nn.Module, name: str, inputs: list[Tensor]) -> tuple[int, Tensor]:
        """Position of the explained input, and its map."""
        from captum.attr import LayerGradCam

        def forward(*points: Tensor) -> Tensor:
            return logits(model, points)

        points = tuple(x.detach().clone().requires_grad_() if x.is_floating_point() else x for x in inputs)
        try:
            cam: Tensor = LayerGradCam(forward, model.get_submodule(name)).attribute(points)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise BackendError(
                f"Grad-CAM layer {name!r} of {type(model).__name__} does not reach the logit ({reason})"
            ) from error
        return placed(cam.detach()[:, 0], inputs)


def placed(cam: Tensor, inputs: Sequence[Tensor]) -> tuple[int, Tensor]:
    """Which input a map (without its channels) belongs to, and the map at that input's resolution."""
    floats = [index for index, x in enumerate(inputs) if x.is_floating_point()]
    pictures = [index for index in floats if inputs[index].dim() >= PICTURE_AXES]
    if cam.dim() == SOUND_AXES - 1:
        sounds = [index for index in floats if index not in pictures]
        if sounds:
            return sounds[0], sound_map(cam, inputs[sounds[0]].shape[1])
    elif pictures:
        return pictures[0], picture_map(cam, inputs[pictures[0]].shape)
    raise BackendError(f"a feature map of shape {tuple(cam.shape)} belongs to no input of the model; name another layer")


def feature_layers(model: nn.Module, inputs: Sequence[Tensor]) -> dict[str, tuple[int, ...]]:
    """Modules that give feature maps (B, C, L), (N, C, h, w) or (B, C, T, h, w), in the order they finish, and these shapes."""
    found: dict[str, tuple[int, ...]] = {}
    with listening(model, found), torch.no_grad():
        logits(model, [x[:1] for x in inputs])
    return found


@contextmanager
def listening(model: nn.Module, found: dict[str, tuple[int, ...]]) -> Iterator[None]:
    """Note the shapes of feature maps while the model runs."""

    def note(name: str, module: nn.Module, output: object) -> None:
        axes = output.dim() if isinstance(output, Tensor) else 0
        known = axes >= PICTURE_AXES or (axes == SOUND_AXES and isinstance(module, nn.Conv1d))  # else (B, tokens, width)
        if isinstance(output, Tensor) and known and max(output.shape[2:]) > 1:
            found.pop(name, None)
            found[name] = tuple(output.shape)

    hooks = [
        module.register_forward_hook(lambda module, _inputs, output, name=name: note(name, module, output))
        for name, module in model.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def convolutional(model: nn.Module, found: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Those that hold a convolution: attention scores (B, heads, N, M) look like feature maps too."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    held = {name for name in found if any(isinstance(part, kinds) for part in model.get_submodule(name).modules())}
    return {name: shape for name, shape in found.items() if name in held}


def listed(model: nn.Module, found: dict[str, tuple[int, ...]]) -> str:
    """The last layer of each size of feature map, first to last."""
    known = convolutional(model, found)
    last = {shape[2:]: name for name, shape in known.items()}
    named = [f"{name} ({'×'.join(map(str, size))})" for size, name in last.items()]
    rest = len(known) - len(named)
    return (", ".join(named) + (f" and {rest} inside of these" if rest > 0 else "")) if named else "none"
