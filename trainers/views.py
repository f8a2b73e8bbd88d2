"""What is done to a batch of inputs in training: mirror images, hidden frames, hidden modalities.

All take and return the model's inputs in the signature's order. A hidden position is 0 and its mask is True, exactly as padding
is, so that models need to know nothing of it.
"""

from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor

from paretolens.models.signature import InputKind, Signature

__all__ = ["View", "hide_frames", "hide_modality", "mirror", "view"]


class View(StrEnum):
    """A version of a clip whose teacher outputs can be cached exactly."""

    PLAIN = "plain"
    MIRRORED = "mirrored"


def mirror(inputs: tuple[Tensor, ...], signature: Signature) -> tuple[Tensor, ...]:
    """Left and right exchanged in every picture; masks and sound are untouched."""
    seen = (InputKind.VIDEO, InputKind.IMAGE)
    return tuple(x.flip(-1) if spec.kind in seen else x for x, spec in zip(inputs, signature.inputs, strict=True))


def view(inputs: tuple[Tensor, ...], signature: Signature, mirrored: Tensor) -> tuple[Tensor, ...]:
    """The mirror image where `mirrored` (B,) bool is True."""
    if not mirrored.any():
        return inputs
    both = zip(inputs, mirror(inputs, signature), strict=True)
    return tuple(torch.where(mirrored.reshape(-1, *[1] * (x.ndim - 1)), y, x) for x, y in both)


def hide_frames(
    inputs: tuple[Tensor, ...], signature: Signature, low: float, high: float, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Hide a random share in [low, high] of each clip's true frames; at least one stays."""
    return _hide(inputs, signature, InputKind.VIDEO, lambda mask: _random_positions(mask, low, high, generator))


def hide_modality(
    inputs: tuple[Tensor, ...], signature: Signature, probability: float, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """With some probability hide the whole sound or (as often) the whole picture of a clip, never both."""
    batch = inputs[0].shape[0]
    chosen = torch.rand(batch, generator=generator) < probability
    sound = torch.rand(batch, generator=generator) < 0.5
    inputs = _hide(inputs, signature, InputKind.VIDEO, (chosen & ~sound)[:, None].expand_as)
    return _hide(inputs, signature, InputKind.AUDIO, (chosen & sound)[:, None].expand_as)


def _hide(
    inputs: tuple[Tensor, ...], signature: Signature, kind: InputKind, choose: Callable[[Tensor], Tensor]
) -> tuple[Tensor, ...]:
    """Hide the chosen positions of every input of a kind that has a mask."""
    names = [spec.name for spec in signature.inputs]
    out = list(inputs)
    for position, spec in enumerate(signature.inputs):
        if spec.kind is not kind or spec.mask is None:
            continue
        mask = names.index(spec.mask)
        out[mask] = inputs[mask] | choose(inputs[mask])
        out[position] = inputs[position].masked_fill(out[mask].reshape(*out[mask].shape, *[1] * (inputs[position].ndim - 2)), 0.0)
    return tuple(out)


def _random_positions(mask: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(B, N) bool: a random share of the positions where `mask` is False."""
    true = (~mask).sum(1, keepdim=True)
    share = low + (high - low) * torch.rand(mask.shape[0], 1, generator=generator)
    count = torch.minimum((share * true).round().long(), (true - 1).clamp(min=0))
    order = torch.rand(mask.shape, generator=generator).masked_fill(mask, 2.0)
    rank = order.argsort(1).argsort(1)
    return rank < count
