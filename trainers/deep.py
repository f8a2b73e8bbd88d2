"""Deep supervision: each modality learns what is wrong with it before attention has found out where to look.

Trained from scratch on the verdict alone, a detector of this family stays at chance for many epochs: the gradient reaches the
frames only through attention that is still uniform. With the encoders supervised too it learns within the first epoch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretolens.models.signature import EarlyLogits

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["SOUND_WEIGHT", "DeepTargets", "deep_loss", "forward_deep"]

SOUND_WEIGHT = 0.5
"""Weight of the sound's loss beside the frames'."""


def forward_deep(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[Any, EarlyLogits | None]:
    """A model's output and its early logits; None where the model has no `forward_deep`."""
    deep = getattr(model, "forward_deep", None)
    return (model(*inputs), None) if deep is None else deep(*inputs)


class DeepTargets:
    """What is wrong with each frame and with the sound of a clip.

    Where a set marks manipulated regions, a frame is fake if any part of it is, and the sound is if the clip is fake and no frame
    is, unless the set says of every sound whether it is. A set that marks none gives the clip's label to both.
    """

    def __init__(self, samples: "SampleSet") -> None:
        labels = torch.from_numpy(np.array(samples.labels, dtype=np.float32))
        marked = torch.from_numpy(np.asarray(samples.regions).any(axis=(2, 3)))
        known = bool(marked.any())
        self.frames = marked.float() if known else labels[:, None].expand(marked.shape)
        self.sound = labels * (~marked.any(1)).float() if known else labels
        if samples.sounds is not None:
            self.sound = torch.from_numpy(np.array(samples.sounds, dtype=np.float32))

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Targets of frames (B, T) and of sounds (B,)."""
        return self.frames[rows], self.sound[rows]


def deep_loss(early: EarlyLogits, frames: Tensor, sound: Tensor) -> Tensor:
    """Binary cross-entropy of the frames that are not padding, and of the sound.

    Args:
        early: the model's early logits over T_s frames.
        frames: (B, T) targets; a model that looks at fewer frames sees the first of each of T_s equal periods.
        sound: (B,) targets.
    """
    T, seen = frames.shape[1], early.frames.shape[1]
    wanted = frames[:, torch.arange(seen, device=frames.device) * T // seen]
    keep = (~early.frame_ignore).to(early.frames.dtype)
    each = F.binary_cross_entropy_with_logits(early.frames, wanted, reduction="none")
    video = (each * keep).sum() / keep.sum().clamp(min=1.0)
    return video + SOUND_WEIGHT * F.binary_cross_entropy_with_logits(early.sound[:, 0], sound)
