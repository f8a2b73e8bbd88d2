"""What a cheap voice clone does to speech: smoothed envelope, flat pitch, noise for phase, a narrower band."""

import numpy as np
from scipy.ndimage import gaussian_filter

from paretolens.data.generated.voice import HOP, N_FFT, RATE, cut_frames, filter_frames

__all__ = ["vocode"]


def vocode(wave: np.ndarray, pitch: float, strength: float, span: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Resynthesise a part of a wave from its smoothed spectral envelope.

    Args:
        wave: (samples,) float32.
        pitch: Pitch of the new voice in Hz, held flat.
        strength: 0..1, how much of the new voice is heard and how smooth it is.
        span: Start and end of the part in seconds.
        rng: Noise.

    Returns:
        (samples,) float32 of the same loudness.
    """
    frames = -(-len(wave) // HOP)
    padded = np.pad(wave.astype(np.float64), (0, frames * HOP - len(wave)))
    envelope = _envelope(padded, frames, strength)
    phase = np.cumsum(np.full(len(padded), pitch / RATE))
    pulses = np.diff(np.floor(phase), prepend=0.0) * np.sqrt(RATE / pitch)
    mixed = 0.7 * pulses + 0.7 * rng.normal(0.0, 1.0, len(padded))
    hertz = np.linspace(0.0, RATE / 2, N_FFT // 2 + 1)
    cut = 8000.0 - 3000.0 * strength
    band = 1.0 / np.sqrt(1.0 + (hertz / cut) ** 12)
    fresh = filter_frames(mixed, envelope * band)
    fresh *= np.sqrt(np.mean(padded**2) / max(1e-12, float(np.mean(fresh**2))))
    time = np.arange(len(padded)) / RATE
    ramp = np.clip((time - span[0]) / 0.02, 0.0, 1.0) * np.clip((span[1] - time) / 0.02, 0.0, 1.0)
    ramp = np.where((span[0] <= 0.0) & (time < span[0] + 0.02), 1.0, ramp)
    share = ramp * (0.2 + 0.8 * strength)
    return (padded * (1.0 - share) + fresh * share)[: len(wave)].astype(np.float32)


def _envelope(wave: np.ndarray, frames: int, strength: float) -> np.ndarray:
    """Magnitudes smoothed over frequency and time: (frames, bins)."""
    magnitude = np.abs(np.fft.rfft(cut_frames(wave, frames) * np.hanning(N_FFT + 1)[:-1]))
    log = gaussian_filter(np.log(magnitude + 1e-4), (0.3 + 2.2 * strength, 2.0 + 5.0 * strength), mode="nearest")
    smooth: np.ndarray = np.exp(log) / np.sqrt(N_FFT * 0.375)
    return smooth
