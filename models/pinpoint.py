"""PinPoint and its students: an audio-visual transformer whose audio frames attend to the video's frames.

Layout: ../docs/architecture.md and the published teacher and PIN-Lite, whose parameter counts (14,998,732 and 1,694,508)
the tests assert. Every width, depth and length is an argument; `build("pinpoint", ...)` is the way to make one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.attention import Attention, FeedForward
from paretolens.models.audio import AudioEncoder, AudioHead
from paretolens.models.backbones import make_backbone
from paretolens.models.positions import Positions, PositionsKind
from paretolens.models.registry import register
from paretolens.models.signature import Detection, EarlyLogits
from paretolens.models.video import FrameSampler, VideoEncoder
from paretolens.naming import did_you_mean

__all__ = ["OFFSET_CLASSES", "Block", "PinPoint", "pinpoint"]

OFFSET_CLASSES = 11
"""Classes of the audio-video offset."""


class Block(nn.Module):
    """Cross-attention audio → video, a gate, self-attention, feed-forward; one norm serves both modalities, one the last two."""

    def __init__(
        self, *, width: int, heads: int, hidden: int, dropout: float, shared: bool = False, rank: int | None = None
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.cross = Attention(width=width, heads=heads, dropout=dropout, shared=shared, rank=rank)
        self.gate = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.attend = Attention(width=width, heads=heads, dropout=dropout, shared=shared, rank=rank)
        self.ffn = FeedForward(width=width, hidden=hidden, dropout=dropout)

    def forward(self, audio: Tensor, video: Tensor, audio_ignore: Tensor, video_ignore: Tensor) -> tuple[Tensor, Tensor]:
        """Audio tokens (B, L, width) and the cross-attention's weights (B, heads, L, T)."""
        crossed, weights = self.cross(self.norm1(audio), self.norm1(video), video_ignore)
        x = audio + crossed
        x = x * torch.sigmoid(self.gate(x))
        y = self.norm2(x)
        x = x + self.attend(y, y, audio_ignore)[0]
        return x + self.ffn(self.norm2(x)), weights


class PinPoint(nn.Module):
    """The whole detector. `return_maps = False` leaves the attention map out (pruning must trace it so)."""

    def __init__(
        self, *, video: VideoEncoder, audio: AudioEncoder, positions: Positions, blocks: Sequence[Block], width: int
    ) -> None:
        super().__init__()
        self.video = video
        self.audio = audio
        self.positions = positions
        self.blocks = nn.ModuleList(blocks)
        self.verdict = nn.Linear(width, 1)
        self.offset = nn.Linear(width, OFFSET_CLASSES)
        self.return_maps = True

    def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Detection:
        """Detect.

        Args:
            video: (B, T, 3, H, H), ImageNet-normalised.
            audio: (B, L, coefficients).
            video_mask: (B, T) bool, True = padding; a wholly True row is a clip without video.
            audio_mask: (B, L) bool, True = padding; a wholly True row is a clip without audio.

        Returns:
            Detection; `attention` is (B, L, T_s) with T_s the frames this model looks at. Its rows sum to 1 over the frames
            that are not padding; rows of padded audio, and all rows of a clip without video, are 0.
            (B, 0, 0) where `return_maps` is False.
        """
        frames, frame_ignore = self.video(video, video_mask)
        return self._fuse(frames, frame_ignore, self.audio(audio, audio_mask), audio_mask)

    def forward_deep(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> tuple[Detection, EarlyLogits]:
        """`forward`, and what the verdict's layer says of every frame and of the sound alone.

        Both streams live in the space that the verdict reads, so that no parameter is added. Training on these logits too (deep
        supervision, Lee et al. 2015) lets the encoders learn before the attention has found out where to look.
        """
        frames, frame_ignore = self.video(video, video_mask)
        sounds = self.audio(audio, audio_mask)
        early = EarlyLogits(self.verdict(frames)[..., 0], frame_ignore, self.verdict(masked_mean(sounds, audio_mask)))
        return self._fuse(frames, frame_ignore, sounds, audio_mask), early

    def patch_logits(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> dict[str, Tensor]:
        """What the verdict's layer says of every place before the modalities meet, by input; 0 where it is padding.

        `video` (B, T_s, h, w): their mean over a frame is the frame's logit of `forward_deep`, for all between the backbone's
        last features and the verdict is linear (class activation maps, Zhou et al. 2016). `audio` (B, L).
        """
        frames, ignore = self.video.places(video, video_mask)
        seen = self.verdict(frames)[..., 0].masked_fill(ignore[:, :, None, None], 0.0)
        heard = self.verdict(self.audio(audio, audio_mask))[..., 0].masked_fill(audio_mask, 0.0)
        return {"video": seen, "audio": heard}

    def _fuse(self, frames: Tensor, frame_ignore: Tensor, sounds: Tensor, audio_mask: Tensor) -> Detection:
        x = self.positions(sounds)
        weights = x
        for block in self.blocks:
            x, weights = block(x, frames, audio_mask, frame_ignore)
        pooled = masked_mean(x, audio_mask)
        maps = x.detach().new_zeros(x.shape[0], 0, 0)
        if self.return_maps:
            maps = weights.mean(1).masked_fill(audio_mask[:, :, None] | frame_ignore[:, None, :], 0.0)
        return Detection(self.verdict(pooled), self.offset(pooled), maps)


def masked_mean(x: Tensor, ignore: Tensor) -> Tensor:
    """Mean of (B, L, d) over the positions that are not ignored; 0 where all are."""
    keep = (~ignore).to(x.dtype)[:, :, None]
    return (x * keep).sum(1) / keep.sum(1).clamp(min=1.0)


def _inputs(
    *, input_frames: int, input_size: int, audio_frames: int, coefficients: int, **_: object
) -> dict[str, tuple[int, ...]]:
    return {
        "video": (input_frames, 3, input_size, input_size),
        "audio": (audio_frames, coefficients),
        "video_mask": (input_frames,),
        "audio_mask": (audio_frames,),
    }


@register("pinpoint", inputs=_inputs)
def pinpoint(
    *,
    backbone: str = "resnet18",
    backbone_width: float = 1.0,
    width: int = 256,
    depth: int = 3,
    heads: int = 8,
    ffn: float = 4,
    dropout: float = 0.1,
    input_frames: int = 30,
    input_size: int = 128,
    frames: int | None = None,
    frame_size: int | None = None,
    audio_frames: int = 300,
    coefficients: int = 13,
    audio_convs: Sequence[int] = (64, 128),
    audio_head: str = "gru",
    video_positions: str = "learned",
    audio_positions: str = "sinusoidal",
    freeze_through: str | None = None,
    sharpen: float = 0.0,
    shared_keys: bool = False,
    attention_rank: float = 1.0,
) -> PinPoint:
    """Build a PinPoint; the defaults are the published teacher (which froze its pretrained backbone through layer2).

    Args:
        backbone: one of `backbone_names()`.
        backbone_width: one of `backbone_widths(backbone)`.
        width: d, the width of the tokens; divisible by `heads`.
        depth: number of blocks, ≥ 1.
        heads: attention heads per block.
        ffn: hidden width of the feed-forward as a multiple of `width`, > 0.
        dropout: within attention and feed-forward, 0 ≤ p < 1.
        input_frames: T, frames of the input.
        input_size: H, side of the input's frames in pixels.
        frames: T_s ≤ T, frames this model looks at; None = all.
        frame_size: h ≤ H, side to which the model shrinks its frames; None = as they are.
        audio_frames: L, the longest audio.
        coefficients: MFCC per audio frame.
        audio_convs: widths of the audio convolutions.
        audio_head: "gru" or "tcn".
        video_positions: "learned", "sinusoidal" or "none".
        audio_positions: the same for the audio.
        sharpen: ≥ 0, how much fine structure is brought out before the backbone; see `FrameSampler`.
        freeze_through: last stage of the backbone that is not trained, e.g. "layer2".
        shared_keys: whether the heads of an attention share keys and values (multi-query attention).
        attention_rank: rank of an attention's projections as a share of `width`, above 0; 1 = whole.

    Raises:
        ConfigurationError: any of these is outside of what is allowed.
    """
    _check(dropout, ffn, sharpen, width=width, depth=depth, audio_frames=audio_frames, coefficients=coefficients)
    seen = input_frames if frames is None else frames
    side = input_size if frame_size is None else frame_size
    sampler = FrameSampler(input_frames=input_frames, frames=seen, input_size=input_size, frame_size=side, sharpen=sharpen)
    hidden, rank = max(1, round(ffn * width)), _rank(attention_rank, width)
    blocks = [
        Block(width=width, heads=heads, hidden=hidden, dropout=dropout, shared=shared_keys, rank=rank) for _ in range(depth)
    ]
    features, channels = make_backbone(backbone, backbone_width, freeze_through=freeze_through)
    head = AudioHead(_one_of("audio_head", audio_head, tuple(AudioHead)))
    encoder = AudioEncoder(coefficients=coefficients, convs=audio_convs, width=width, head=head)
    order = _positions("video_positions", video_positions, seen, width)
    video = VideoEncoder(sampler=sampler, backbone=features, channels=channels, width=width, positions=order)
    positions = _positions("audio_positions", audio_positions, audio_frames, width)
    return PinPoint(video=video, audio=encoder, positions=positions, blocks=blocks, width=width)


def _positions(name: str, kind: str, length: int, width: int) -> Positions:
    return Positions(kind=PositionsKind(_one_of(name, kind, tuple(PositionsKind))), length=length, width=width)


def _rank(share: float, width: int) -> int | None:
    if not 0 < share <= 1:
        raise ConfigurationError(f"attention_rank must lie above 0 and at most at 1; got {share:g}")
    return None if share == 1 else max(1, round(share * width))


def _check(dropout: float, ffn: float, sharpen: float, **sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ConfigurationError(f"{name} must be at least 1; got {value}")
    if not 0 <= dropout < 1:
        raise ConfigurationError(f"dropout must be at least 0 and below 1; got {dropout:g}")
    if not sharpen >= 0:
        raise ConfigurationError(f"sharpen must be at least 0; got {sharpen:g}")
    if not ffn > 0:
        raise ConfigurationError(f"ffn must be above 0; got {ffn:g}")


def _one_of(name: str, value: str, valid: Sequence[str]) -> str:
    if value not in valid:
        raise ConfigurationError(f"{name} {value!r} is not known{did_you_mean(value, valid)}")
    return value
