import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretolens.data.frame_choice import SELECTORS, content, diversity, motion, sharpness, uniform
from paretolens.data.reading import Select


def grey(*levels: int, side: int = 40) -> np.ndarray:
    """(n, side, side, 3) frames of one level each."""
    frames = np.array(levels, np.uint8)[:, None, None, None]
    return np.ascontiguousarray(np.broadcast_to(frames, (len(levels), side, side, 3)))


def test_uniform_takes_the_middles_of_equal_parts() -> None:
    assert uniform(grey(*range(12)), 3).tolist() == [2, 6, 10]
    assert uniform(grey(*range(8)), 8).tolist() == list(range(8))


def test_motion_finds_the_frames_in_which_something_moves() -> None:
    frames = grey(*[50] * 12)
    for index, left in ((5, 4), (6, 12), (7, 20)):  # a bright block jumps about in three frames, then is gone
        frames[index, 10:30, left : left + 8] = 250
    assert motion(frames, 4).tolist() == [5, 6, 7, 8]
    assert motion(frames, 2).tolist() == [6, 7]  # there a block goes and another comes


def test_motion_of_a_still_is_the_earliest_frames_after_the_first() -> None:
    assert motion(grey(*[9] * 6), 2).tolist() == [1, 2]


def test_sharpness_finds_the_frames_in_focus() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (40, 40, 1), np.uint8).repeat(3, axis=2)
    blurred = np.broadcast_to(sharp.mean(axis=(0, 1), keepdims=True), sharp.shape).astype(np.uint8)
    half = (0.5 * sharp + 0.5 * blurred).astype(np.uint8)
    frames = np.stack([blurred, half, blurred, sharp, blurred, half, blurred, sharp])
    assert sharpness(frames, 2).tolist() == [3, 7]
    assert sharpness(frames, 4).tolist() == [1, 3, 5, 7]


def test_sharpness_is_the_variance_of_scipys_laplacian() -> None:
    from scipy.ndimage import laplace

    rng = np.random.default_rng(1)
    frames = np.stack([rng.integers(100 - spread, 100 + spread, (24, 24, 3), np.uint8) for spread in (10, 60, 30, 90, 20)])
    weights = np.array([0.299, 0.587, 0.114])
    scores = [laplace((frame @ weights).astype(np.float32))[1:-1, 1:-1].var() for frame in frames]
    assert sharpness(frames, 2).tolist() == sorted(np.argsort(scores)[-2:].tolist())


def test_diversity_takes_one_frame_of_every_look() -> None:
    chosen = diversity(grey(10, 11, 10, 12, 120, 121, 119, 250, 251, 249), 3)
    looks = np.digitize(chosen, [4, 7])
    assert sorted(looks.tolist()) == [0, 1, 2]


def test_content_takes_the_middle_of_every_scene() -> None:
    frames = grey(*[10] * 5, *[100] * 9, *[200] * 3)
    assert content(frames, 3).tolist() == [2, 9, 15]


def test_content_divides_the_longest_scene_until_there_are_enough() -> None:
    frames = grey(*[10] * 4, *[200] * 12)
    assert content(frames, 3).tolist() == [2, 7, 13]
    assert content(grey(*[10] * 12), 3).tolist() == uniform(grey(*[10] * 12), 3).tolist()


def test_content_tells_the_largest_jumps_apart_where_scenes_are_too_many() -> None:
    frames = grey(*[0] * 4, *[80] * 4, *[160] * 4, *[240] * 4)
    assert len(content(frames, 2)) == 2


@pytest.mark.parametrize("select", Select)
@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 9), n=st.integers(1, 9), seed=st.integers(0, 3))
def test_every_way_gives_ascending_frames_without_repeats(select: Select, count: int, n: int, seed: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), np.uint8)
    before = frames.copy()
    chosen = SELECTORS[select](frames, count)
    assert len(chosen) == min(n, count)
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < n
    np.testing.assert_array_equal(frames, before)
