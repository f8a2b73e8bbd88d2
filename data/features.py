"""Log-mel spectra and MFCC in torch, so that no audio library is needed at run time.

Formulas: Davis and Mermelstein (1980) for the cepstrum, the HTK book (eq. 5.13) for the mel scale, orthonormal DCT-II.
Frame i is centred on sample i * hop (the signal is reflected at both ends), so frame i of a clip lies at i * hop / rate seconds.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from paretolens.errors import ConfigurationError, DataError

__all__ = ["AudioSettings", "dct_matrix", "log_mel", "mel_matrix", "mfcc"]


@dataclass(frozen=True, kw_only=True)
class AudioSettings:
    """How sound becomes features."""

    rate: Annotated[int, Ge(1000)] = 16000
    """Sampling rate in Hz; other rates are resampled when a clip is read."""
    n_fft: Annotated[int, Ge(16)] = 512
    """Length of the Hann window and of the Fourier transform, in samples."""
    hop: Annotated[int, Ge(1)] = 200
    """Samples between frames: 200 at 16 kHz is 80 frames a second."""
    mels: Annotated[int, Ge(1)] = 40
    """Number of triangular mel filters."""
    coefficients: Annotated[int, Ge(1)] = 13
    """Number of cepstral coefficients kept, the zeroth (loudness) among them."""
    floor: Annotated[float, Gt(0.0)] = 1e-5
    """Power below which a mel band counts as silent; keeps the logarithm finite."""

    def __post_init__(self) -> None:
        if self.coefficients > self.mels:
            message = (
                f"coefficients must not exceed mels, got {self.coefficients} > {self.mels}: lower coefficients or raise mels"
            )
            raise ConfigurationError(message)

    @property
    def frames_per_second(self) -> float:
        """Feature frames in one second."""
        return self.rate / self.hop


def _hz_to_mel(hz: Tensor) -> Tensor:
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


def _mel_to_hz(mel: Tensor) -> Tensor:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


@lru_cache(maxsize=8)
def mel_matrix(settings: AudioSettings) -> Tensor:
    """Triangular mel filters from 0 Hz to half the sampling rate, peak 1: (mels, n_fft // 2 + 1), float32."""
    nyquist = torch.tensor(settings.rate / 2.0, dtype=torch.float64)
    bins = torch.linspace(0.0, settings.rate / 2.0, settings.n_fft // 2 + 1, dtype=torch.float64)
    edges = _mel_to_hz(torch.linspace(0.0, float(_hz_to_mel(nyquist)), settings.mels + 2, dtype=torch.float64))
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp_min(0.0).float()


@lru_cache(maxsize=8)
def dct_matrix(coefficients: int, mels: int) -> Tensor:
    """The first rows of the orthonormal DCT-II: (coefficients, mels), float32."""
    k = torch.arange(coefficients, dtype=torch.float64)[:, None]
    n = torch.arange(mels, dtype=torch.float64)[None, :]
    matrix = torch.cos(torch.pi / mels * (n + 0.5) * k) * math.sqrt(2.0 / mels)
    matrix[0] /= math.sqrt(2.0)
    return matrix.float()


def log_mel(waveform: Tensor, settings: AudioSettings) -> Tensor:
    """Natural logarithm of the mel power spectrum.

    Args:
        waveform: (..., samples) float32 in -1..1, at least one hop long.
        settings: Rate, window and filters.

    Returns:
        (..., samples // hop, mels) float32, not below log(settings.floor).

    Raises:
        DataError: The sound is shorter than one hop.
    """
    samples = waveform.shape[-1]
    count = samples // settings.hop
    if count < 1:
        raise DataError(f"sound must last at least {settings.hop} samples, got {samples}: give a longer clip")
    half = settings.n_fft // 2
    flat = waveform.reshape(-1, samples)
    if samples <= half:  # too short to be reflected: silence follows
        flat = torch.nn.functional.pad(flat, (0, half + 1 - samples))
    window = torch.hann_window(settings.n_fft, device=waveform.device)
    spectrum = torch.stft(
        flat, settings.n_fft, settings.hop, window=window, center=True, pad_mode="reflect", return_complex=True
    )  # (batch, bins, frames)
    power = spectrum.real.square() + spectrum.imag.square()
    mel = mel_matrix(settings).to(waveform.device) @ power[..., :count]
    return mel.clamp_min(settings.floor).log().transpose(-1, -2).reshape(*waveform.shape[:-1], count, settings.mels)


def mfcc(waveform: Tensor, settings: AudioSettings) -> Tensor:
    """Mel-frequency cepstral coefficients: (..., samples) → (..., samples // hop, coefficients) float32."""
    matrix = dct_matrix(settings.coefficients, settings.mels).to(waveform.device)
    return torch.matmul(log_mel(waveform, settings), matrix.T)
