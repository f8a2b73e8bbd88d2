"""Streams: the newest window is judged, the rest is dropped and counted."""

import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from paretolens.data.preprocessing import Preprocessing
from paretolens.errors import DataError
from paretolens.exporters.predict_template import Predictor
from paretolens.exporters.stream import Recent, judge_stream


def shade(value: int) -> np.ndarray:
    return np.full((32, 32, 3), value, np.uint8)


def test_a_slow_reader_gets_the_newest_window_and_the_rest_is_counted(preprocessing: Preprocessing) -> None:
    recent = Recent(asdict(preprocessing.clip))  # 4 pictures, 8 a second
    for index in range(13):
        recent.show(shade(index), index / 8)
    window = recent.newest()
    assert window is not None
    pictures, wave, until = window
    assert [int(picture[0, 0, 0]) for picture in pictures] == [9, 10, 11, 12]
    assert (recent.dropped, until, len(wave)) == (9, 13 / 8, 0)
    for index in range(13, 15):
        recent.show(shade(index), index / 8)
    assert recent.newest() is not None
    assert recent.dropped == 9, "what a verdict has seen is not dropped"
    recent.end()
    assert recent.newest() is None


def test_sound_is_cut_to_the_pictures(preprocessing: Preprocessing) -> None:
    clip = asdict(preprocessing.clip)
    recent, rate = Recent(clip), clip["audio"]["rate"]
    ramp = np.arange(2 * rate, dtype=np.float32)
    for start in range(0, len(ramp), 1000):
        recent.play(ramp[start : start + 1000], start / rate)
    for index in range(12):
        recent.show(shade(index), index / 8)
    window = recent.newest()
    assert window is not None
    np.testing.assert_array_equal(window[1], ramp[rate : rate + rate // 2])  # pictures 8..11: second 1 to 1.5


def test_newest_waits_for_a_full_window(preprocessing: Preprocessing) -> None:
    recent = Recent(asdict(preprocessing.clip))
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(recent.newest()))
    thread.start()
    for index in range(4):
        assert not found
        recent.show(shade(index), index / 8)
    thread.join()
    assert len(found) == 1


def test_a_file_is_a_stream(bundle: Path, clips: dict[str, Path]) -> None:
    predictor = Predictor(bundle)
    found = list(judge_stream(predictor, str(clips["usual"]), pace=2.0))  # 1 s of 16 pictures, 8 of them looked at
    assert found[-1]["until"] == pytest.approx(1.0)
    assert all(0.0 <= row["probability"] <= 1.0 and row["verdict"] in ("real", "fake") for row in found)
    assert [row["until"] for row in found] == sorted({row["until"] for row in found})
    assert found[-1]["dropped"] <= 4
    assert not [thread for thread in threading.enumerate() if thread.name == "stream-reader"]


def test_a_stream_left_early_ends_its_reader(bundle: Path, clips: dict[str, Path]) -> None:
    verdicts = judge_stream(Predictor(bundle), str(clips["usual"]), pace=2.0)
    next(verdicts)
    verdicts.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "stream-reader"]


def test_what_is_no_stream_is_one_line(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="FFmpeg cannot open it"):
        next(judge_stream(Predictor(bundle), str(tmp_path / "none.mp4")))
