"""Pictures made smaller inside a model, and their fine structure brought out first."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretolens.errors import ConfigurationError

__all__ = ["Shrink", "mean_of_squares", "sharpened"]


class Shrink(nn.Module):
    """(N, C, H, H) → (N, C, h, h).

    The shrinking averages over squares of the whole factor (area), then interpolates linearly by what is left (below 2). Before
    it, pictures are sharpened to x + sharpen·(x − mean of the 3×3 around x): what manipulation leaves is in the fine structure,
    and an encoder that starts from nothing finds it epochs sooner when it stands out (high-pass filters of steganalysis, Fridrich
    and Kodovský 2012). 0 leaves pictures as they are.
    """

    def __init__(self, *, input_size: int, size: int, sharpen: float = 0.0) -> None:
        super().__init__()
        if not 16 <= size <= input_size:
            raise ConfigurationError(f"the size a model sees must lie between 16 and the input's {input_size}; got {size}")
        if not sharpen >= 0:
            raise ConfigurationError(f"sharpen must be at least 0; got {sharpen:g}")
        self.factor = input_size // size
        self.size = size
        self.interpolates = input_size // self.factor != size
        self.sharpen = sharpen

    def forward(self, pictures: Tensor) -> Tensor:
        """Sharpen, then shrink."""
        if self.sharpen:
            pictures = sharpened(pictures, self.sharpen)
        if self.factor > 1:
            pictures = mean_of_squares(pictures, self.factor)
        if self.interpolates:
            pictures = F.interpolate(pictures, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return pictures


def sharpened(frames: Tensor, amount: float) -> Tensor:
    """x + amount·(x − mean of those pixels of the 3×3 around x that there are), of (N, C, H, W)."""
    if _pools_with_torch(frames):
        return frames + amount * (frames - F.avg_pool2d(frames, 3, stride=1, padding=1, count_include_pad=False))
    return (frames - _mean_around(frames)).mul_(amount).add_(frames)


def _mean_around(frames: Tensor) -> Tensor:
    """`avg_pool2d(frames, 3, stride=1, padding=1, count_include_pad=False)`."""
    N, C, H, W = frames.shape
    padded = F.pad(frames, (1, 1, 1, 1))
    flat, row = padded.reshape(-1), W + 2
    total, count = torch.empty_like(flat), flat.numel() - 2 * row - 2
    some = total[:count]  # the sum around a pixel lies where the first of its nine neighbours is
    torch.add(flat[:count], flat[1 : 1 + count], out=some)
    for shift in (2, row, row + 1, row + 2, 2 * row, 2 * row + 1, 2 * row + 2):
        some += flat[shift : shift + count]
    return total.reshape(N, C, H + 2, row)[:, :, :H, :W] / (_neighbours(H)[:, None] * _neighbours(W))


def mean_of_squares(frames: Tensor, factor: int) -> Tensor:
    """Mean of each square of `factor` × `factor` pixels of (N, C, H, W); what is left at the end is dropped."""
    if _pools_with_torch(frames):
        return F.avg_pool2d(frames, factor)
    H, W = (side // factor * factor for side in frames.shape[2:])
    parts = [frames[:, :, i:H:factor, j:W:factor] for i in range(factor) for j in range(factor)]
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total += part
    return total.div_(factor**2)


def _neighbours(length: int) -> Tensor:
    """(length,) how many of the three positions around each there are."""
    inside = torch.full((length,), 3.0)
    inside[0] -= 1.0
    inside[-1] -= 1.0
    return inside


def _pools_with_torch(frames: Tensor) -> bool:
    """Whether torch's own pooling is to be used: it can be differentiated and exported.

    On a CPU its kernel is not vectorised: adding shifted copies takes a quarter of its time, which was a tenth of a training
    step. They are added in the kernel's order, so that both ways give the same bits.
    """
    differentiated = torch.is_grad_enabled() and frames.requires_grad
    exported = torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting()
    return frames.device.type != "cpu" or differentiated or exported
