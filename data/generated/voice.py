"""Synthesised speech: a source-filter voice that says random syllables, and the mouth movement that belongs to it.

Source: pulses at the speaker's pitch with vibrato and accents, and noise for consonants and breath. Filter: formants of one vowel
per syllable (Peterson and Barney 1952, rounded), scaled to the speaker's vocal tract, applied in the short-time Fourier domain.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

__all__ = ["CONTROL_RATE", "RATE", "Speaker", "Utterance", "cut_frames", "filter_frames", "make_speaker", "speak"]

RATE = 16_000
HOP = 200
N_FFT = 2 * HOP
CONTROL_RATE = RATE // HOP

# first three formants in Hz, openness of the jaw 0..1, width of the lips 0..1
VOWELS = np.array(
    [
        [730, 1090, 2440, 1.00, 0.55],  # a
        [530, 1840, 2480, 0.60, 0.80],  # e
        [270, 2290, 3010, 0.30, 1.00],  # i
        [570, 840, 2410, 0.75, 0.25],  # o
        [300, 870, 2240, 0.32, 0.05],  # u
    ]
)


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """What stays the same in everything one person says."""

    pitch: float
    """Mean pitch in Hz."""
    vibrato_hz: float
    """Rate of the vibrato."""
    vibrato_depth: float
    """Relative depth of the vibrato."""
    tract: float
    """Factor on all formants."""
    syllables: float
    """Syllables a second."""
    breath: float
    """Level of the noise in voiced sounds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Utterance:
    """Speech and the mouth that makes it. Time 0 is at sample 0."""

    wave: np.ndarray
    """(samples,) float32, peak about 0.5."""
    openness: np.ndarray
    """(frames,) 0..1 at CONTROL_RATE, how far the mouth is open."""
    width: np.ndarray
    """(frames,) 0..1 at CONTROL_RATE, how wide the lips are."""

    def mouth(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Openness and width at times in seconds."""
        grid = np.arange(len(self.openness)) / CONTROL_RATE
        return np.interp(times, grid, self.openness), np.interp(times, grid, self.width)


def make_speaker(rng: np.random.Generator) -> Speaker:
    """A random voice."""
    pitch = float(np.exp(rng.uniform(np.log(90.0), np.log(240.0))))
    return Speaker(
        pitch=pitch,
        vibrato_hz=float(rng.uniform(4.0, 7.0)),
        vibrato_depth=float(rng.uniform(0.004, 0.03)),
        tract=float(0.9 + 0.25 * (pitch - 90.0) / 150.0 + rng.normal(0.0, 0.03)),
        syllables=float(rng.uniform(2.2, 3.8)),
        breath=float(rng.uniform(0.01, 0.06)),
    )


def speak(speaker: Speaker, seconds: float, rng: np.random.Generator) -> Utterance:
    """Random syllables for `seconds` seconds."""
    frames = int(np.ceil(seconds * CONTROL_RATE))
    track = _syllables(speaker, frames, rng)
    time = np.arange(frames * HOP) / RATE
    accent = np.interp(time, np.arange(frames) / CONTROL_RATE, gaussian_filter1d(rng.normal(0.0, 1.0, frames), 12.0) * 0.35)
    vibrato = speaker.vibrato_depth * np.sin(2 * np.pi * speaker.vibrato_hz * time + rng.uniform(0, 6.28))
    phase = np.cumsum(speaker.pitch * (1.0 + accent + vibrato) / RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0) * np.sqrt(RATE / speaker.pitch)
    noise = rng.normal(0.0, 1.0, len(time))
    wave = filter_frames(pulses + speaker.breath * noise, track["voiced"]) + filter_frames(noise, track["fricative"])
    wave *= 0.5 / max(1e-6, float(np.abs(wave).max()))
    return Utterance(wave=wave.astype(np.float32), openness=track["openness"], width=track["width"])


def _syllables(speaker: Speaker, frames: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Control tracks: filters of voice and friction (frames, bins), openness and width (frames,)."""
    voice, friction, openness = np.zeros(frames), np.zeros(frames), np.zeros(frames)
    shape = np.tile(VOWELS[rng.integers(len(VOWELS))], (frames, 1))
    at = -int(rng.integers(0, 30))
    while at < frames:
        length = max(10, int(CONTROL_RATE / speaker.syllables * rng.uniform(0.75, 1.3)))
        if rng.random() < 0.12:  # a pause
            at += length // 2
            continue
        vowel = VOWELS[rng.integers(len(VOWELS))]
        onset = int(length * rng.uniform(0.12, 0.25))
        loud = rng.uniform(0.55, 1.0)
        bump = loud * np.sin(np.pi * (np.arange(length - onset) + 0.5) / (length - onset)) ** 0.8
        _add(voice, at + onset, bump)
        _add(openness, at + onset, bump * vowel[3])
        if rng.random() < 0.6:
            _add(friction, at, np.hanning(onset + 2) * rng.uniform(0.05, 0.3))
        first, last = max(0, at), min(frames, at + length)
        shape[first:last] = vowel
        at += length
    shape = gaussian_filter1d(shape, 2.5, axis=0)
    centre = rng.uniform(3500.0, 6000.0)
    hertz = np.linspace(0.0, RATE / 2, N_FFT // 2 + 1)
    hiss = np.exp(-(((hertz - centre) / 1500.0) ** 2))
    return {
        "voiced": (voice**1.5)[:, None] * _formants(shape[:, :3] * speaker.tract, hertz),
        "fricative": friction[:, None] * hiss,
        "openness": np.clip(gaussian_filter1d(openness, 1.5), 0.0, 1.0),
        "width": np.clip(shape[:, 4], 0.0, 1.0),
    }


def _add(track: np.ndarray, at: int, values: np.ndarray) -> None:
    first, last = max(0, at), min(len(track), at + len(values))
    if last > first:
        track[first:last] = np.maximum(track[first:last], values[first - at : last - at])


def _formants(formants: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    """Magnitude of the vocal tract: (frames, 3) Hz → (frames, bins), parallel resonances over a falling source spectrum."""
    response = np.full((len(formants), len(hertz)), 0.01)
    for k, (band, gain) in enumerate(((90.0, 1.0), (110.0, 0.6), (170.0, 0.3))):
        response += gain / np.sqrt(1.0 + ((hertz[None] - formants[:, k : k + 1]) / band) ** 2)
    return response / np.sqrt(1.0 + (hertz / 900.0) ** 2) * (hertz > 40.0)


def filter_frames(wave: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Filter a wave by a magnitude response that changes every HOP samples: overlap-add of windowed frames.

    Args:
        wave: (frames * HOP,) samples.
        response: (frames, N_FFT // 2 + 1) magnitudes.
    """
    frames = len(response)
    window = np.sqrt(np.hanning(N_FFT + 1)[:-1])  # twice: its square adds up to 1 at half overlap
    parts = np.fft.irfft(np.fft.rfft(cut_frames(wave, frames) * window) * response, n=N_FFT) * window
    halves = parts.reshape(frames, 2, HOP)
    out = np.zeros((frames + 1, HOP))
    out[:-1] += halves[:, 0]
    out[1:] += halves[:, 1]
    filtered: np.ndarray = out.reshape(-1)[N_FFT // 2 : N_FFT // 2 + len(wave)]
    return filtered


def cut_frames(wave: np.ndarray, frames: int) -> np.ndarray:
    """Frames of N_FFT samples around every HOP-th sample: (frames, N_FFT)."""
    padded = np.pad(wave, (N_FFT // 2, N_FFT))
    return np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[: frames * HOP : HOP]
