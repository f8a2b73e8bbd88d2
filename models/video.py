"""The video branch: fewer and smaller frames where asked for, a backbone per frame, a projection to the model's width."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.backbones import Backbone

__all__ = ["FrameSampler", "VideoEncoder", "frame_index"]


def frame_index(inputs: int, outputs: int) -> list[int]:
    """Which of `inputs` frames a model on `outputs` frames looks at: the first of each of `outputs` equal periods.

    Padding is at the end, so a period's first frame is padding only if all of the period is.

    Raises:
        ConfigurationError: more frames are asked for than there are.
    """
    if not 1 <= outputs <= inputs:
        raise ConfigurationError(f"frames must lie between 1 and the input's {inputs}; got {outputs}")
    return [position * inputs // outputs for position in range(outputs)]


class FrameSampler(nn.Module):
    """(B, T, 3, H, H) → (B, T_s, 3, h, h): frames are chosen by `frame_index` and shrunk.

    The shrinking averages over squares of the whole factor (area), then interpolates linearly by what is left (below 2). Before
    it, frames are sharpened to x + sharpen·(x − mean of the 3×3 around x): what manipulation leaves is in the fine structure, and
    an encoder that starts from nothing finds it epochs sooner when it stands out (high-pass filters of steganalysis, Fridrich and
    Kodovský 2012). 0 leaves frames as they are.
    """

    def __init__(self, *, input_frames: int, frames: int, input_size: int, frame_size: int, sharpen: float = 0.0) -> None:
        super().__init__()
        if not 16 <= frame_size <= input_size:
            raise ConfigurationError(f"frame_size must lie between 16 and the input's {input_size}; got {frame_size}")
        self.all_frames = frames == input_frames
        self.register_buffer("index", torch.tensor(frame_index(input_frames, frames)), persistent=False)
        self.index: Tensor
        self.factor = input_size // frame_size
        self.frame_size = frame_size
        self.interpolates = input_size // self.factor != frame_size
        self.sharpen = sharpen

    def forward(self, video: Tensor, ignore: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B·T_s, 3, h, h) and their mask (B, T_s)."""
        if not self.all_frames:
            video, ignore = video.index_select(1, self.index), ignore.index_select(1, self.index)
        frames = video.reshape(-1, *video.shape[2:])
        if self.sharpen:
            frames = sharpened(frames, self.sharpen)
        if self.factor > 1:
            frames = mean_of_squares(frames, self.factor)
        if self.interpolates:
            size = (self.frame_size, self.frame_size)
            frames = F.interpolate(frames, size=size, mode="bilinear", align_corners=False)
        return frames, ignore


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


class VideoEncoder(nn.Module):
    """Video (B, T, 3, H, H) → one token per chosen frame (B, T_s, width)."""

    def __init__(self, *, sampler: FrameSampler, backbone: Backbone, channels: int, width: int, positions: nn.Module) -> None:
        super().__init__()
        self.sampler = sampler
        self.backbone = backbone
        self.project = nn.Linear(channels, width)
        self.positions = positions

    def forward(self, video: Tensor, ignore: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, T_s, width), 0 where the frame is padding, and their mask (B, T_s) bool.

        In training the backbone sees the frames that are not padding only, so that padding never enters the batch norms.
        """
        frames, ignore = self.sampler(video, ignore)
        seen = torch.nonzero(~ignore.reshape(-1))[:, 0] if self.training else None
        if seen is not None and 1 < len(seen) < len(frames):
            features = self.project(self.backbone(frames.index_select(0, seen)))
            tokens = features.new_zeros(len(frames), features.shape[-1]).index_copy(0, seen, features)
        else:
            tokens = self.project(self.backbone(frames))
        tokens = self.positions(tokens.reshape(-1, ignore.shape[1], tokens.shape[-1]))
        return tokens.masked_fill(ignore[:, :, None], 0.0), ignore

    def places(self, video: Tensor, ignore: Tensor) -> tuple[Tensor, Tensor]:
        """A token for every place of the backbone's last features, (B, T_s, h, w, width), whose mean over a frame is the frame's
        token of `forward`; and the frames' mask (B, T_s) bool."""
        frames, ignore = self.sampler(video, ignore)
        tokens = self.project(self.backbone.feature_map(frames).permute(0, 2, 3, 1))
        tokens = tokens.unflatten(0, (-1, ignore.shape[1]))
        nowhere = tokens.new_zeros(len(tokens), tokens.shape[1], tokens.shape[-1])
        return tokens + self.positions(nowhere)[:, :, None, None], ignore
