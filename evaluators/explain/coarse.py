"""Maps that are coarser than their input, brought to its resolution: what Grad-CAM, attention and patch logits give.

Bilinear, as Selvaraju et al. (ICCV 2017, section 3) draw their maps: on the plateaus of nearest neighbours all ranks are tied.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from paretolens.errors import BackendError
from paretolens.models.video import frame_index

__all__ = ["picture_map", "sound_map"]

VIDEO_AXES = 5
"""(B, T, 3, H, W)."""


def picture_map(coarse: Tensor, shape: Sequence[int]) -> Tensor:
    """A map of the pictures of an input of `shape` (with its batch axis), without its channel axis.

    Args:
        coarse: for an image (B, h, w); for video (B·T_s, h, w) or (B, T_s, h, w), T_s the frames that the model looks at.
        shape: (B, 3, H, W) or (B, T, 3, H, W).

    Returns:
        (B, H, W) or (B, T, H, W); 0 on frames that the model does not look at.

    Raises:
        BackendError: the map has no row per sample or frame.
    """
    batch, size = shape[0], tuple(shape[-2:])
    flat = coarse.reshape(-1, 1, *coarse.shape[-2:])
    if len(flat) % batch or (len(shape) != VIDEO_AXES and len(flat) != batch):
        raise BackendError(f"a map of {batch} samples must have whole rows for each, got {tuple(coarse.shape)}")
    fine = F.interpolate(flat, size=size, mode="bilinear", align_corners=False)[:, 0]
    if len(shape) != VIDEO_AXES:
        return fine
    seen = len(flat) // batch
    frames = torch.zeros(batch, shape[1], *size, dtype=fine.dtype, device=fine.device)
    frames[:, frame_index(shape[1], seen)] = fine.unflatten(0, (batch, seen))
    return frames


def sound_map(coarse: Tensor, length: int) -> Tensor:
    """(B, l) → (B, L, 1), linearly interpolated along time where l is not L already."""
    if coarse.shape[1] != length:
        coarse = F.interpolate(coarse[:, None], size=length, mode="linear", align_corners=False)[:, 0]
    return coarse[..., None]
