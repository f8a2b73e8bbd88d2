import numpy as np
import pytest
from scipy.signal import find_peaks, periodogram

from paretolens.data.generated.vocoder import vocode
from paretolens.data.generated.voice import CONTROL_RATE, HOP, N_FFT, RATE, filter_frames, make_speaker, speak


@pytest.mark.parametrize("seed", range(4))
def test_the_pitch_is_the_speakers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    speaker = make_speaker(rng)
    wave = speak(speaker, 4.0, rng).wave
    correlation = np.correlate(wave, wave, mode="full")[len(wave) - 1 :]
    low, high = int(RATE / 400), int(RATE / 60)
    lags, _ = find_peaks(correlation[low:high], prominence=0.05 * correlation[0])
    pitches = RATE / (lags + low)
    assert np.abs(pitches / speaker.pitch - 1.0).min() < 0.15


def test_the_mouth_opens_when_the_voice_is_loud() -> None:
    """Not wholly: an i or a u is loud with a small mouth."""
    rng = np.random.default_rng(0)
    correlations = []
    for _ in range(8):
        said = speak(make_speaker(rng), 4.0, rng)
        loudness = np.sqrt(np.mean(said.wave.reshape(-1, HOP) ** 2, axis=1))
        correlations.append(np.corrcoef(loudness, said.openness)[0, 1])
    assert np.median(correlations) > 0.6
    assert min(correlations) > 0.3


def test_syllables_come_two_to_four_times_a_second() -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(6):
        openness = speak(make_speaker(rng), 8.0, rng).openness
        hertz, power = periodogram(openness - openness.mean(), CONTROL_RATE)
        rates.append(float((hertz * power)[hertz < 6].sum() / power[hertz < 6].sum()))
    assert 1.2 < np.median(rates) < 4.0


def test_a_flat_filter_leaves_the_wave_alone() -> None:
    wave = np.random.default_rng(0).normal(size=40 * HOP)
    same = filter_frames(wave, np.ones((40, N_FFT // 2 + 1)))
    np.testing.assert_allclose(same[HOP:-HOP], wave[HOP:-HOP], atol=1e-10)


def test_a_vocoded_part_changes_that_part_alone() -> None:
    rng = np.random.default_rng(1)
    speaker = make_speaker(rng)
    wave = speak(speaker, 1.0, rng).wave
    changed = vocode(wave, speaker.pitch, 1.0, (0.5, 1.0), rng)
    np.testing.assert_array_equal(changed[: RATE // 2], wave[: RATE // 2])
    assert np.abs(changed[RATE // 2 + 1000 :] - wave[RATE // 2 + 1000 :]).max() > 0.01


def test_a_stronger_vocoder_is_further_from_the_voice() -> None:
    rng = np.random.default_rng(2)
    speaker = make_speaker(rng)
    wave = speak(speaker, 1.0, rng).wave
    errors = [
        float(np.mean((vocode(wave, speaker.pitch, s, (0.0, 1.0), np.random.default_rng(0)) - wave) ** 2))
        for s in (0.0, 0.5, 1.0)
    ]
    assert errors == sorted(errors)
    assert errors[0] < errors[-1] / 4
