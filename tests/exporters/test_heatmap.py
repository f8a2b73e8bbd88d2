import numpy as np
from PIL import Image

from paretolens.exporters.heatmap import blended, on_pixels, write_heatmap


def test_a_patch_lies_on_the_middle_of_what_it_saw():
    patches = np.zeros((7, 7))
    patches[2, 5] = 3.0
    found = on_pixels(patches, (64, 64), size=9, stride=8)
    assert found.shape == (64, 64)
    assert np.unravel_index(found.argmax(), found.shape) == (2 * 8 + 4, 5 * 8 + 4)
    assert found.max() == 3.0
    assert (found[:13] == 0).all() and (found[:, :37] == 0).all()


def test_between_patches_it_is_linear_and_beyond_them_as_the_outermost():
    rising = np.arange(7.0)[:, None] * np.ones(4)
    found = on_pixels(rising, (64, 40), size=9, stride=8)
    assert np.allclose(found[4:53, 0], (np.arange(4, 53) - 4) / 8)
    assert (found[:5] == 0).all() and (found[52:] == 6).all()


def test_red_speaks_for_fake_blue_for_real_and_silence_shows_the_picture():
    pixels = np.full((3, 3, 3), 120, np.uint8)
    found = blended(pixels, np.array([[2.0, 0.0, -2.0]] * 3)).astype(int)
    assert found[0, 0, 0] > 150 > found[0, 0, 2]
    assert found[0, 2, 2] > 150 > found[0, 2, 0]
    assert (found[0, 1] == 120).all()
    assert (blended(pixels, np.zeros((3, 3))) == 120).all()


def test_it_is_written_as_a_picture_of_the_same_size(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 48, 32), dtype=np.uint8)
    write_heatmap(tmp_path / "map.png", pixels, np.ones((22, 14)), size=5, stride=2)
    with Image.open(tmp_path / "map.png") as found:
        assert (found.format, found.size) == ("PNG", (32, 48))
