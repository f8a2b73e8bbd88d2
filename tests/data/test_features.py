"""Against an independent implementation: SciPy's spectrogram and DCT, and a mel matrix written from the textbook."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.fft import dct
from scipy.signal import ShortTimeFFT, get_window

from paretolens.data.features import AudioSettings, dct_matrix, log_mel, mel_matrix, mfcc
from paretolens.errors import ConfigurationError, DataError


def reference_mel_matrix(rate: int, n_fft: int, mels: int) -> np.ndarray:
    def mel(hz: float) -> float:
        return 1127.01048 * np.log(1.0 + hz / 700.0)

    points = [700.0 * (np.exp(m / 1127.01048) - 1.0) for m in np.linspace(0.0, mel(rate / 2), mels + 2)]
    matrix = np.zeros((mels, n_fft // 2 + 1))
    for row in range(mels):
        low, peak, high = points[row : row + 3]
        for column in range(n_fft // 2 + 1):
            hz = column * rate / n_fft
            if low < hz <= peak:
                matrix[row, column] = (hz - low) / (peak - low)
            elif peak < hz < high:
                matrix[row, column] = (high - hz) / (high - peak)
    return matrix


def reference_log_mel(wave: np.ndarray, settings: AudioSettings) -> np.ndarray:
    half = settings.n_fft // 2
    padded = np.pad(wave.astype(np.float64), half, mode="reflect")
    transform = ShortTimeFFT(get_window("hann", settings.n_fft), settings.hop, settings.rate)
    count = len(wave) // settings.hop
    frames = [padded[i * settings.hop : i * settings.hop + settings.n_fft] for i in range(count)]
    power = np.stack([np.abs(np.fft.rfft(frame * transform.win)) ** 2 for frame in frames])
    mel = power @ reference_mel_matrix(settings.rate, settings.n_fft, settings.mels).T
    return np.log(np.maximum(mel, settings.floor))


@pytest.mark.parametrize("n_fft", [400, 512])
def test_log_mel_matches_the_reference(tone: np.ndarray, n_fft: int) -> None:
    settings = AudioSettings(n_fft=n_fft)
    ours = log_mel(torch.from_numpy(tone), settings).numpy()
    assert ours.shape == (80, 40)
    np.testing.assert_allclose(ours, reference_log_mel(tone, settings), atol=2e-3)


@pytest.mark.parametrize("n_fft", [400, 512])
def test_mfcc_matches_the_reference(tone: np.ndarray, n_fft: int) -> None:
    settings = AudioSettings(n_fft=n_fft)
    expected = dct(reference_log_mel(tone, settings), type=2, norm="ortho", axis=-1)[:, :13]
    np.testing.assert_allclose(mfcc(torch.from_numpy(tone), settings).numpy(), expected, atol=5e-3)


def test_dct_matrix_matches_scipy() -> None:
    np.testing.assert_allclose(dct_matrix(13, 40).numpy(), dct(np.eye(40), type=2, norm="ortho", axis=0)[:13], atol=1e-6)


def test_mel_filters_match_the_textbook() -> None:
    np.testing.assert_allclose(mel_matrix(AudioSettings()).numpy(), reference_mel_matrix(16_000, 512, 40), atol=1e-5)


def test_frame_i_is_centred_on_sample_i_times_hop() -> None:
    wave = torch.zeros(16_000)
    wave[30 * 200] = 1.0
    energy = log_mel(wave, AudioSettings()).sum(-1)
    assert int(energy.argmax()) == 30


def test_a_batch_gives_the_same_as_one_at_a_time(tone: np.ndarray) -> None:
    waves = torch.from_numpy(np.stack([tone, tone[::-1]]))
    together = mfcc(waves, AudioSettings())
    assert torch.equal(together[1], mfcc(waves[1], AudioSettings()))


def test_silence_is_finite() -> None:
    assert torch.isfinite(mfcc(torch.zeros(3200), AudioSettings())).all()


@hypothesis_settings(max_examples=20, deadline=None)
@given(samples=st.integers(200, 1500))
def test_any_length_from_one_hop_gives_whole_frames(samples: int) -> None:
    assert mfcc(torch.ones(samples), AudioSettings()).shape == (samples // 200, 13)


def test_less_than_one_hop_is_refused() -> None:
    with pytest.raises(DataError, match="at least 200 samples, got 199"):
        mfcc(torch.zeros(199), AudioSettings())


def test_more_coefficients_than_mels_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="41 > 40"):
        AudioSettings(coefficients=41)
