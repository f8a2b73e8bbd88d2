"""Filters before the first layer of a patch detector: they take the scene away and leave what generators and editors leave.

They belong to the model, not to the preprocessing: a bundle and an exported file hold them, and explanations reach the picture.
"""

from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PreFilter", "PreFilterKind"]


class PreFilterKind(StrEnum):
    """What is done to a picture first."""

    RAW = "raw"  # nothing
    DIAGONAL = "diagonal"  # slope along the diagonal, 3×3 per colour
    NEAREST = "nearest"  # what halving and doubling the picture loses (neighbouring pixel relationships, Tan et al. 2024)


DIAGONAL = ((-2.0, -1.0, 0.0), (-1.0, 0.0, 1.0), (0.0, 1.0, 2.0))
"""Sobel's filter turned by 45°, down to the right."""


class PreFilter(nn.Module):
    """(B, 3, H, W) → (B, 3, H, W), without parameters."""

    def __init__(self, kind: PreFilterKind) -> None:
        super().__init__()
        self.kind = str(kind)
        self.register_buffer("kernel", torch.tensor(DIAGONAL).expand(3, 1, 3, 3).contiguous(), persistent=False)
        self.kernel: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Filter pictures."""
        if self.kind == PreFilterKind.DIAGONAL:
            return F.conv2d(image, self.kernel, padding=1, groups=3)
        if self.kind == PreFilterKind.NEAREST:
            return image - doubled(image[:, :, ::2, ::2])[:, :, : image.shape[2], : image.shape[3]]
        return image


def doubled(image: Tensor) -> Tensor:
    """Every pixel four times."""
    return F.interpolate(image, scale_factor=2.0, mode="nearest")
