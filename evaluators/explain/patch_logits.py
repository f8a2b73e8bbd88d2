"""Patch logits: what the model itself says of every place, in one forward pass.

Bag-of-features networks (Brendel and Bethge, ICLR 2019) give them as they are; class activation maps (Zhou et al. 2016) are the
same thing for a network that averages its last features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from paretolens.errors import BackendError, TrialError
from paretolens.evaluators.explain.attribution import Attribution
from paretolens.evaluators.explain.coarse import picture_map, sound_map
from paretolens.evaluators.explain.forward import end_logits, held_still

__all__ = ["PatchLogits"]

PICTURE_AXES = 4


@dataclass(frozen=True, kw_only=True)
class PatchLogits:
    """The explainer, for models with a method `patch_logits(*inputs)` that returns maps by the name of the forward's argument.

    A map is (B, h, w) of an image, (B, T_s, h, w) of a video or (B, l) of sound, positive = fake.
    """

    chunk: Annotated[int, Ge(1)] = 20
    """Samples that go through the model at once."""

    def __call__(self, model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Attribution:
        """Explain a batch.

        Raises:
            BackendError: the model has no patch logits.
            TrialError: they are not finite.
        """
        with held_still(model), torch.no_grad():
            parts = [
                maps_of(model, [x[start : start + self.chunk] for x in inputs]) for start in range(0, len(inputs[0]), self.chunk)
            ]
            ends = end_logits(model, inputs, baseline, self.chunk)
        maps = [
            None if column[0] is None else torch.cat([m for m in column if m is not None]) for column in zip(*parts, strict=True)
        ]
        if not all(map_ is None or bool(torch.isfinite(map_).all()) for map_ in maps):
            raise TrialError(f"{type(model).__name__} gives patch logits that are not finite; lower its learning rate")
        return Attribution.of_maps(maps, ends, nodes=0, signed=True)


def maps_of(model: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """One map per input at its resolution; None for inputs without one."""
    ask = getattr(model, "patch_logits", None)
    if ask is None:
        raise BackendError(
            f"{type(model).__name__} has no method patch_logits(*inputs) that says something of every place; "
            "use another explainer, such as integrated_gradients or grad_cam"
        )
    found: Mapping[str, Tensor] = ask(*inputs)
    names = argument_names(ask)
    maps: list[Tensor | None] = []
    for name, x in zip(names, inputs, strict=True):
        if name not in found:
            maps.append(None)
        elif x.dim() >= PICTURE_AXES:
            maps.append(picture_map(found[name], x.shape))
        else:
            maps.append(sound_map(found[name], x.shape[1]))
    return maps


def argument_names(method: object) -> list[str]:
    """Names of a method's arguments, which are those of the model's inputs."""
    import inspect

    return list(inspect.signature(method).parameters)  # type: ignore[arg-type]  # a bound method
