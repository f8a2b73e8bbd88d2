"""Where attention goes: the map that the model returns, or the roll-out of all blocks. Unsigned: how much, not for or against.

Roll-out (Abnar and Zuidema, ACL 2020, section 3) with A' = ½ I + ½ A for the residual path, over one set of tokens: sound queries
sound (self-attention) and frames (cross-attention), frames query nothing. A token's weight is the mean over the sound that is not
padding of the product of all A'.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn

from paretolens.errors import BackendError, TrialError
from paretolens.evaluators.explain.attribution import Attribution
from paretolens.evaluators.explain.coarse import picture_map, sound_map
from paretolens.evaluators.explain.forward import end_logits, held_still, logits
from paretolens.models.attention import Attention

__all__ = ["AttentionMaps", "Depth"]

VIDEO_AXES, SOUND_AXES = 5, 3


class Depth(StrEnum):
    """How far back attention is followed."""

    LAST = "last"
    """The field `attention` (B, L, T_s) of the model's output."""
    ROLLOUT = "rollout"
    """All attention layers of the model."""


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """The explainer, for models built of `paretolens.models.attention.Attention` whose sound attends to frames."""

    depth: Depth = Depth.LAST
    """How far back attention is followed."""
    chunk: Annotated[int, Ge(1)] = 20
    """Samples that go through the model at once."""

    def __call__(self, model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Attribution:
        """Explain a batch: one weight per frame (B, T, H, W), the same all over it; the roll-out also per sound frame (B, L, 1).

        Raises:
            BackendError: the model has no attention that can be read.
            TrialError: it is not finite.
        """
        video, sound = places_of(model, inputs)
        weigh = last_weights if self.depth is Depth.LAST else rollout_weights
        found = []
        with held_still(model), torch.no_grad():
            for start in range(0, len(inputs[0]), self.chunk):
                part = [x[start : start + self.chunk] for x in inputs]
                frames, sounds = weigh(model, part)
                seen = picture_map(frames[:, :, None, None], part[video].shape)
                found.append((seen, None if sounds is None else sound_map(sounds, part[sound].shape[1])))
            ends = end_logits(model, inputs, baseline, self.chunk)
        maps: list[Tensor | None] = [None] * len(inputs)
        maps[video] = torch.cat([seen for seen, _ in found])
        heard = [sounds for _, sounds in found if sounds is not None]
        maps[sound] = torch.cat(heard) if heard else None
        if not all(map_ is None or bool(torch.isfinite(map_).all()) for map_ in maps):
            raise TrialError(f"{type(model).__name__} gives attention that is not finite; lower its learning rate")
        return Attribution.of_maps(maps, ends, nodes=0, signed=False)


def places_of(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[int, int]:
    """Positions of the video and of the sound among the inputs."""
    axes = [x.dim() if x.is_floating_point() else 0 for x in inputs]
    if VIDEO_AXES not in axes or SOUND_AXES not in axes:
        raise BackendError(
            f"attention maps need a video (B, T, 3, H, W) and a sound (B, L, F); {type(model).__name__} was given "
            f"{', '.join(str(tuple(x.shape)) for x in inputs)}: use another explainer, such as integrated_gradients"
        )
    return axes.index(VIDEO_AXES), axes.index(SOUND_AXES)


def last_weights(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, None]:
    """(B, T_s): mean attention that each frame gets from the sound; rows of padded sound are 0 and do not count."""
    found = getattr(model(*inputs), "attention", None)
    if not isinstance(found, Tensor) or found.dim() != SOUND_AXES or not found.shape[1]:
        raise BackendError(
            f"{type(model).__name__} returns no field `attention` (B, L, T_s); use another explainer, such as attention_rollout"
        )
    rows = (found.sum(dim=2) > 0).sum(dim=1).clamp_min(1)
    return found.sum(dim=1) / rows[:, None], None


def rollout_weights(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(B, T_s) and (B, L): how much of each frame and of each moment of sound reaches the verdict by attention."""
    calls: list[tuple[bool, Tensor, Tensor]] = []
    with listening(model, calls):
        logits(model, inputs)
    if not any(own for own, _, _ in calls) or all(own for own, _, _ in calls):
        raise BackendError(
            f"{type(model).__name__} has no self- and cross-attention (paretolens.models.attention.Attention) to roll out; "
            "use another explainer, such as integrated_gradients"
        )
    length, seen = next((weights.shape[1:] for own, weights, _ in calls if not own))
    ignored = next(ignore for own, _, ignore in calls if own)
    keep = (~ignored).to(calls[0][1].dtype)
    sounds = keep / keep.sum(dim=1, keepdim=True).clamp_min(1.0)
    frames = sounds.new_zeros(len(sounds), int(seen))
    for own, weights, _ in reversed(calls):
        if own:
            sounds = 0.5 * sounds + 0.5 * (sounds[:, None] @ weights)[:, 0]
        else:
            frames = frames + 0.5 * (sounds[:, None] @ weights)[:, 0]
            sounds = 0.5 * sounds
    assert sounds.shape[1] == length
    return frames, sounds


@contextmanager
def listening(model: nn.Module, calls: list[tuple[bool, Tensor, Tensor]]) -> Iterator[None]:
    """Note every attention: whether it is self-attention, its weights (B, N, M) averaged over heads, and its mask (B, M)."""

    def note(_module: nn.Module, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        query, memory, ignore = inputs
        calls.append((query is memory, output[1].mean(dim=1), ignore))

    hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, Attention)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
