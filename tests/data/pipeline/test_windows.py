from pathlib import Path

import numpy as np
import pytest

from paretolens.data.pipeline.settings import FolderSettings
from paretolens.data.pipeline.windows import picture_truth, place_windows, window_truth
from paretolens.data.readers.listing import Item

SETTINGS = FolderSettings(path=Path("set"), frames=8, fps=8.0)
THREE = FolderSettings(path=Path("set"), frames=8, fps=8.0, windows=3)
TIMES = np.arange(8) / 8.0


def fake(*periods: tuple[float, float], picture: bool | None = True, sound: bool | None = False, name: str = "a.mp4") -> Item:
    return Item(file=name, fake=True, kind="lips", periods=periods, fake_picture=picture, fake_sound=sound)


REAL = Item(file="real.mp4", fake=False)


def test_a_short_video_has_one_window() -> None:
    assert place_windows(REAL, 0.7, THREE) == [0.0]
    assert place_windows(REAL, 0.0, SETTINGS) == [0.0]


def test_several_windows_are_even_and_end_with_the_video() -> None:
    assert place_windows(REAL, 5.0, THREE) == [0.0, 2.0, 4.0]


def test_one_window_lies_where_the_name_says_and_always_there() -> None:
    starts = [place_windows(Item(file=f"{n}.mp4", fake=False), 11.0, SETTINGS)[0] for n in range(200)]
    assert starts == [place_windows(Item(file=f"{n}.mp4", fake=False), 11.0, SETTINGS)[0] for n in range(200)]
    assert min(starts) < 1.0
    assert max(starts) > 9.0


@pytest.mark.parametrize("name", [f"{n}.mp4" for n in range(12)])
def test_a_window_of_a_fake_holds_the_middle_of_a_known_period(name: str) -> None:
    item = fake((7.0, 7.4), name=name)
    (start,) = place_windows(item, 20.0, SETTINGS)
    assert start <= 7.2 <= start + 1.0
    starts = place_windows(item, 20.0, THREE)
    assert sum(window_truth(item, start, SETTINGS).fake for start in starts) == 1
    assert all(0.0 <= start <= 19.0 for start in starts)


def test_a_window_beside_the_period_is_real() -> None:
    truth = window_truth(fake((7.0, 7.4)), 2.0, SETTINGS, TIMES)
    assert (truth.fake, truth.kind, truth.period) == (False, "real", (0.0, 0.0))
    assert not any(truth.frames)


def test_less_than_a_frame_of_a_period_does_not_count_but_a_short_period_within_does() -> None:
    assert not window_truth(fake((2.95, 4.0)), 2.0, SETTINGS).fake
    assert window_truth(fake((2.5, 2.55)), 2.0, SETTINGS).fake


def test_frames_and_period_are_counted_from_the_window() -> None:
    truth = window_truth(fake((2.25, 2.5), (2.75, 9.0)), 2.0, SETTINGS, TIMES)
    assert truth.period == pytest.approx((0.25, 1.0))
    assert truth.frames == (False, False, True, True, False, False, True, True)


def test_a_fake_sound_leaves_the_frames_alone() -> None:
    truth = window_truth(fake((2.25, 2.5), picture=False, sound=True), 2.0, SETTINGS, TIMES)
    assert truth.fake
    assert not any(truth.frames)
    assert truth.period == pytest.approx((0.25, 0.5))


def test_without_periods_all_of_a_fake_is() -> None:
    truth = window_truth(fake(), 2.0, SETTINGS, TIMES)
    assert all(truth.frames)
    assert truth.period == (0.0, 1.0)


def test_nothing_is_marked_where_nobody_knows_what_is_fake() -> None:
    truth = window_truth(fake(picture=None, sound=None), 2.0, SETTINGS, TIMES)
    assert truth.fake
    assert not any(truth.frames)
    assert truth.period == (0.0, 0.0)


def test_a_frame_is_judged_by_what_can_be_seen_at_its_time() -> None:
    assert picture_truth(fake((1.0, 2.0)), 1.5).fake
    assert picture_truth(fake((1.0, 2.0)), 2.5).kind == "real"
    assert not picture_truth(fake((1.0, 2.0), picture=False, sound=True), 1.5).fake
    assert picture_truth(fake(), None).frames == (True,)
    assert picture_truth(fake(picture=None, sound=None), None).frames == (False,)
