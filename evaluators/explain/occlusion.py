"""Occlusion: how far the logit falls when a patch is replaced by the baseline (Zeiler and Fergus 2014, section 4.2).

It needs forward passes alone, so that a file for a runtime without gradients is explained as its torch model is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from paretolens.errors import TrialError
from paretolens.evaluators.explain.attribution import Attribution
from paretolens.evaluators.explain.forward import end_logits, held_still, logits

__all__ = ["Occlusion"]

VIDEO_AXES, IMAGE_AXES = 5, 4


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """The explainer. A map holds f(x) − f(x with the patch taken from the baseline) all over each patch."""

    cells: Annotated[int, Ge(1)] = 4
    """Patches along each side of a picture."""
    frames: Annotated[int, Ge(1)] = 2
    """Neighbouring video frames that a patch covers."""
    sounds: Annotated[int, Ge(1)] = 8
    """Neighbouring audio frames that a patch covers."""
    bands: Annotated[int, Ge(1)] = 3
    """Groups of coefficients of a sound; a patch covers one."""
    chunk: Annotated[int, Ge(1)] = 32
    """Points (samples × patches) that go through the model at once."""

    def __call__(self, model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Attribution:
        """Explain a batch.

        Raises:
            TrialError: a logit is not finite.
        """
        with held_still(model), torch.no_grad():
            ends = end_logits(model, inputs, baseline, self.chunk)
            maps = [
                None if start is None else self._map(model, inputs, place, start.to(inputs[place]), ends[0])
                for place, start in enumerate(baseline)
            ]
        return Attribution.of_maps(maps, ends, nodes=0, signed=True)

    def _map(self, model: nn.Module, inputs: Sequence[Tensor], place: int, start: Tensor, full: Tensor) -> Tensor:
        """(B, T, H, W), (B, H, W) or (B, L, F) float32 of the input at `place`."""
        patches = self.patches(inputs[place].shape[1:]).to(start.device)
        count = int(patches.max()) + 1
        found = torch.cat([logits(model, points) for points in self._points(inputs, place, start, patches)])
        if not bool(torch.isfinite(found).all()):
            raise TrialError(f"{type(model).__name__} gives logits that are not finite; lower its learning rate")
        falls = full[:, None] - found.reshape(-1, count).to("cpu", torch.float64)
        return falls[:, patches.reshape(-1).cpu()].reshape(len(falls), *patches.shape).to(start)

    def _points(self, inputs: Sequence[Tensor], place: int, start: Tensor, patches: Tensor) -> Iterator[list[Tensor]]:
        """Inputs with one patch gone, sample by sample, patch by patch, `chunk` at a time."""
        x, count = inputs[place], int(patches.max()) + 1
        channels = (1,) if x.dim() in (VIDEO_AXES, IMAGE_AXES) else ()
        where = patches.reshape(*patches.shape[:-2], *channels, *patches.shape[-2:])
        pairs = torch.arange(len(x) * count, device=x.device)
        for part in pairs.split(self.chunk):
            rows, numbers = part // count, part % count
            gone = where == numbers.view(-1, *[1] * where.dim())
            points = [other[rows] for other in inputs]
            points[place] = torch.where(gone, start, points[place])
            yield points

    def patches(self, shape: Sequence[int]) -> Tensor:
        """Number of the patch that every place of an input belongs to: (T, H, W), (H, W) or (L, F) int64, from 0 on.

        Args:
            shape: of the input without its batch: (T, 3, H, W), (3, H, W) or (L, F).
        """
        picture = len(shape) + 1 in (VIDEO_AXES, IMAGE_AXES)
        groups = [
            _groups(size, min(self.cells, size)) if picture else _groups(size, min(self.bands, size)) for size in shape[-2:]
        ]
        if len(shape) + 1 == VIDEO_AXES:
            groups.insert(0, torch.arange(shape[0]) // self.frames)
        elif not picture:
            groups[0] = torch.arange(shape[0]) // self.sounds
        numbers = torch.zeros((), dtype=torch.int64)
        for axis, group in enumerate(groups):
            numbers = numbers * (int(group.max()) + 1) + group.view(-1, *[1] * (len(groups) - axis - 1))
        return numbers


def _groups(size: int, count: int) -> Tensor:
    """(size,) which of `count` equal parts each position is in."""
    return torch.arange(size) * count // size
