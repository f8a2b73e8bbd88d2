from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from paretolens.data.clips import read_clip, read_inputs
from paretolens.data.features import AudioSettings, dct_matrix, mfcc
from paretolens.data.generated.encode import write_clip
from paretolens.data.preprocessing import ClipSettings
from paretolens.data.samples import SampleSet
from paretolens.errors import DataError

CLIP = ClipSettings()


def levels(clip) -> list[int]:
    """Grey level of every frame that is not masked, as k of 20 + 20 k."""
    shown = clip.arrays["video"][~clip.arrays["video_mask"]]
    return [round((float(frame.mean()) - 20.0) / 20.0) for frame in shown]


def test_every_frame_is_read_in_order(make_clip) -> None:
    assert levels(read_clip(make_clip(), CLIP)) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_short_clip_is_padded_and_masked(make_clip) -> None:
    clip = read_clip(make_clip(frames=6), CLIP)
    assert levels(clip) == [0, 1, 2, 3, 4, 5]
    assert clip.arrays["video_mask"].tolist() == [False] * 6 + [True] * 2
    assert clip.arrays["audio_mask"].sum() == 20
    assert clip.seconds == 0.75
    assert (clip.arrays["video"][6:] == 0).all()


@pytest.mark.parametrize(("fps", "expected"), [(24.0, [0, 3, 6, 9]), (16.0, [0, 2, 4, 6]), (4.0, [0, 0, 1, 1])])
def test_the_frame_shown_at_each_wanted_time_is_taken(make_clip, fps: float, expected: list[int]) -> None:
    assert levels(read_clip(make_clip(frames=10, fps=fps), replace(CLIP, frames=4)))[:4] == expected[:4]


def test_a_window_starts_where_it_is_told(make_clip) -> None:
    clip = read_clip(make_clip(frames=10, fps=8.0), replace(CLIP, frames=3), start=0.5)
    assert levels(clip) == [4, 5, 6]


def test_a_window_past_the_end_is_refused(make_clip) -> None:
    with pytest.raises(DataError, match="at least one frame after 9 s"):
        read_clip(make_clip(), CLIP, start=9.0)


def test_a_wide_picture_is_cropped_to_its_middle(tmp_path: Path) -> None:
    picture = np.zeros((1, 64, 128, 3), np.uint8)
    picture[:, :, 32:96] = 200
    write_clip(tmp_path / "wide.mp4", picture.repeat(4, axis=0), 8.0, None, 16_000, crf=5, bit_rate=32_000)
    video = read_clip(tmp_path / "wide.mp4", replace(CLIP, size=32)).arrays["video"]
    assert abs(float(video[0, :, 2:-2, 2:-2].mean()) - 200.0) < 4.0


def test_a_phone_that_was_turned_is_turned_back(tmp_path: Path) -> None:
    """The container says "turn by 90 degrees clockwise" (track header matrix 0 1 -1 0, ISO 14496-12)."""
    picture = np.zeros((4, 64, 64, 3), np.uint8)
    picture[:, :32] = 220  # the upper half is bright; turned clockwise, the right half is
    path = tmp_path / "turned.mp4"
    write_clip(path, picture, 8.0, None, 16_000, crf=5, bit_rate=32_000)
    content = path.read_bytes()
    unit = b"".join(value.to_bytes(4, "big", signed=True) for value in (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
    turned = b"".join(value.to_bytes(4, "big", signed=True) for value in (0, 65536, 0, -65536, 0, 0, 64 << 16, 0, 1 << 30))
    at = content.index(unit, content.index(b"tkhd"))
    path.write_bytes(content[:at] + turned + content[at + len(unit) :])
    video = read_clip(path, CLIP).arrays["video"][0]
    assert float(video[:, :, 36:].mean()) > 200.0
    assert float(video[:, :, :28].mean()) < 20.0


def test_sound_survives_the_codec_in_time_and_shape(make_clip, tone: np.ndarray) -> None:
    clip = read_clip(make_clip(), CLIP)
    expected = mfcc(torch.from_numpy(tone), AudioSettings()).numpy()
    for coefficient in range(3):
        assert np.corrcoef(clip.arrays["audio"][:, coefficient], expected[:, coefficient])[0, 1] > 0.98


@pytest.mark.parametrize("fps", [1.0, 2.5, 8.0])
def test_pictures_and_sound_are_those_of_a_loop_that_decodes_everything(tmp_path: Path, tone: np.ndarray, fps: float) -> None:
    """Few pictures and a long sound, with frames that are predicted from later ones."""
    pictures = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)
    write_clip(tmp_path / "plain.mp4", pictures, 10.0, np.resize(tone, 48_000), 16_000, crf=20, bit_rate=64_000)
    path = tmp_path / "film.mp4"
    with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(path), "w") as target:
        video: Any = target.add_stream("libx264", rate=10, options={"x264-params": "bframes=3:b-adapt=0:scenecut=0", "crf": "10"})
        video.width = video.height = 64
        sound = target.add_stream_from_template(source.streams.audio[0])
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = sound
                target.mux(packet)
    with av.open(str(path)) as container:
        everything = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    settings = ClipSettings(frames=round(2 * fps), fps=fps, size=64)
    wanted = [[shown for time, shown in everything if time <= k / fps + 1e-3][-1] for k in range(settings.frames)]
    clip = read_clip(path, settings)
    np.testing.assert_array_equal(clip.arrays["video"].transpose(0, 2, 3, 1), np.stack(wanted))
    assert not clip.arrays["audio_mask"].any()
    whole = read_clip(tmp_path / "plain.mp4", ClipSettings(frames=20, fps=10.0))
    np.testing.assert_array_equal(clip.arrays["audio"], whole.arrays["audio"])


def test_a_click_is_heard_when_it_is_made(tmp_path: Path) -> None:
    wave = np.zeros(16_000, np.float32)
    wave[8_000:8_040] = 0.8
    write_clip(tmp_path / "click.mp4", np.zeros((8, 64, 64, 3), np.uint8), 8.0, wave, 16_000, crf=20, bit_rate=64_000)
    loudness = read_clip(tmp_path / "click.mp4", CLIP).arrays["audio"][:, 0]
    assert abs(int(loudness.argmax()) - 40) <= 1


def test_other_sampling_rates_are_resampled(tmp_path: Path) -> None:
    time = np.arange(44_100) / 44_100
    wave = (0.5 * np.sin(2 * np.pi * 1000.0 * time)).astype(np.float32)
    write_clip(tmp_path / "cd.mp4", np.zeros((8, 64, 64, 3), np.uint8), 8.0, wave, 44_100, crf=20, bit_rate=96_000)
    clip = read_clip(tmp_path / "cd.mp4", CLIP)
    assert not clip.arrays["audio_mask"].any()
    sine = np.sin(2 * np.pi * 1000.0 * np.arange(16_000) / 16_000).astype(np.float32) * 0.5
    expected = mfcc(torch.from_numpy(sine), AudioSettings()).numpy()
    mel, wanted = (np.asarray(x[20:60].mean(axis=0)) @ dct_matrix(13, 40).numpy() for x in (clip.arrays["audio"], expected))
    assert mel.argmax() == wanted.argmax()  # the band of 1 kHz


def test_a_clip_without_sound_says_so(make_clip) -> None:
    clip = read_clip(make_clip(sound=False), CLIP)
    assert clip.arrays["audio_mask"].all()
    assert (clip.arrays["audio"] == 0).all()
    assert "no sound" in clip.note


def test_a_clip_with_sound_has_no_note(make_clip) -> None:
    assert read_clip(make_clip(), CLIP).note == ""


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.mp4 does not exist"):
        read_clip(tmp_path / "gone.mp4", CLIP)


@pytest.mark.parametrize("content", [b"", b"this is no video" * 100])
def test_a_file_that_is_no_video_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.mp4") as caught:
        read_clip(path, CLIP)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_one_clear_line(make_clip) -> None:
    path = make_clip()
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(DataError, match=r"clip\.mp4"):
        read_clip(path, CLIP)


def test_a_file_with_sound_alone_is_one_clear_line(tmp_path: Path, tone: np.ndarray) -> None:
    from scipy.io import wavfile

    wavfile.write(tmp_path / "voice.wav", 16_000, tone)
    with pytest.raises(DataError, match="must have a picture track"):
        read_clip(tmp_path / "voice.wav", CLIP)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_still_picture_is_no_clip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"still.{suffix}"
    Image.new("RGB", (64, 64), "red").save(path)
    with pytest.raises(DataError, match=f"still.{suffix} is a still picture: give a video file"):
        read_clip(path, CLIP)


def test_a_non_ascii_name_is_read(make_clip) -> None:
    assert levels(read_clip(make_clip("видео é 映像.mp4"), CLIP)) == list(range(8))


def test_a_generated_clip_read_alone_is_its_row(sets: dict[str, SampleSet]) -> None:
    samples = sets["test"]
    assert samples.folder is not None
    path = samples.folder.parent / "clips" / f"{samples.ids[3]}.mp4"
    alone = read_inputs(path, samples.signature, samples.preprocessing)
    assert all(torch.equal(a, b) for a, b in zip(alone, samples.batch([3]), strict=True))
