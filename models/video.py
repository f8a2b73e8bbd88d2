"""The video branch: fewer and smaller frames where asked for, a backbone per frame, a projection to the model's width."""

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.backbones import Backbone
from paretolens.models.shrink import Shrink

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
    """(B, T, 3, H, H) → (B, T_s, 3, h, h): frames are chosen by `frame_index`, sharpened and shrunk (`Shrink`)."""

    def __init__(self, *, input_frames: int, frames: int, input_size: int, frame_size: int, sharpen: float = 0.0) -> None:
        super().__init__()
        if not 16 <= frame_size <= input_size:
            raise ConfigurationError(f"frame_size must lie between 16 and the input's {input_size}; got {frame_size}")
        self.all_frames = frames == input_frames
        self.register_buffer("index", torch.tensor(frame_index(input_frames, frames)), persistent=False)
        self.index: Tensor
        self.shrink = Shrink(input_size=input_size, size=frame_size, sharpen=sharpen)

    def forward(self, video: Tensor, ignore: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B·T_s, 3, h, h) and their mask (B, T_s)."""
        if not self.all_frames:
            video, ignore = video.index_select(1, self.index), ignore.index_select(1, self.index)
        return self.shrink(video.reshape(-1, *video.shape[2:])), ignore


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
