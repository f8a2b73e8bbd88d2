"""The audio branch: convolutions over the MFCC, a layer norm, then a GRU or a temporal convolutional network.

Padding never leaks: the input and every convolution's output are set to 0 where the mask is True, which is exactly the zero
padding that an unpadded clip would see at its end, and the GRU runs forward in time only.
"""

from collections.abc import Sequence
from enum import StrEnum

from torch import Tensor, nn

from paretolens.errors import ConfigurationError

__all__ = ["AudioEncoder", "AudioHead", "TemporalConvolutions"]


class AudioHead(StrEnum):
    """What follows the convolutions."""

    GRU = "gru"  # one unidirectional layer
    TCN = "tcn"  # three dilated convolutions, 15 frames of context


class AudioEncoder(nn.Module):
    """MFCC (B, L, coefficients) → tokens (B, L, width)."""

    def __init__(self, *, coefficients: int, convs: Sequence[int], width: int, head: AudioHead) -> None:
        super().__init__()
        if not convs:
            raise ConfigurationError("audio_convs must name at least one convolution's width; got none")
        sizes = (coefficients, *convs)
        self.convs = nn.ModuleList(nn.Conv1d(a, b, 3, padding=1) for a, b in zip(sizes, convs, strict=False))
        self.acts = nn.ModuleList(nn.ReLU() for _ in convs)
        self.norm = nn.LayerNorm(convs[-1])
        self.head: nn.Module
        if head is AudioHead.GRU:
            self.head = nn.GRU(convs[-1], width, batch_first=True)
        else:
            self.head = TemporalConvolutions(inputs=convs[-1], width=width)

    def forward(self, audio: Tensor, ignore: Tensor) -> Tensor:
        """Encode.

        Args:
            audio: (B, L, coefficients).
            ignore: (B, L) bool, True = padding; what the audio holds there does not matter.
        """
        hidden = ignore[:, None, :]
        x = audio.masked_fill(ignore[:, :, None], 0.0).transpose(1, 2)
        for conv, act in zip(self.convs, self.acts, strict=True):
            x = act(conv(x)).masked_fill(hidden, 0.0)
        x = self.norm(x.transpose(1, 2))
        if isinstance(self.head, nn.GRU):
            out: Tensor = self.head(x)[0]
            return out
        encoded: Tensor = self.head(x, ignore)
        return encoded


class TemporalConvolutions(nn.Module):
    """Convolutions of dilation 1, 2 and 4 (Bai et al. 2018, section 3); the last two are residual."""

    def __init__(self, *, inputs: int, width: int) -> None:
        super().__init__()
        self.entry = nn.Conv1d(inputs, width, 3, padding=1)
        self.entry_act = nn.ReLU()
        self.dilated = nn.ModuleList(nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation) for dilation in (2, 4))
        self.acts = nn.ModuleList(nn.ReLU() for _ in self.dilated)

    def forward(self, x: Tensor, ignore: Tensor) -> Tensor:
        """(B, L, inputs) and (B, L) bool → (B, L, width)."""
        hidden = ignore[:, None, :]
        x = x.transpose(1, 2).masked_fill(hidden, 0.0)
        x = self.entry_act(self.entry(x)).masked_fill(hidden, 0.0)
        for conv, act in zip(self.dilated, self.acts, strict=True):
            x = x + act(conv(x)).masked_fill(hidden, 0.0)
        return x.transpose(1, 2)
