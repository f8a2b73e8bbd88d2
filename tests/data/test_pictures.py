from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paretolens.data.pictures import read_picture
from paretolens.data.preprocessing import ClipSettings, Fit, PictureSettings, Preprocessing
from paretolens.errors import ConfigurationError, DataError

SIZE = 16


def gradient(height: int, width: int) -> np.ndarray:
    rows, columns = np.indices((height, width))
    return np.stack([rows * 255 // max(1, height - 1), columns * 255 // max(1, width - 1), 0 * rows + 90], axis=2).astype(
        np.uint8
    )


def test_a_square_png_of_the_right_size_is_read_as_it_is(tmp_path: Path) -> None:
    pixels = gradient(SIZE, SIZE)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", PictureSettings(size=SIZE)), pixels.transpose(2, 0, 1))


def test_crop_takes_the_centre_and_stretch_takes_all(tmp_path: Path) -> None:
    pixels = gradient(SIZE, 3 * SIZE)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    cropped = read_picture(tmp_path / "wide.png", PictureSettings(size=SIZE))
    np.testing.assert_array_equal(cropped, pixels[:, SIZE : 2 * SIZE].transpose(2, 0, 1))
    stretched = read_picture(tmp_path / "wide.png", PictureSettings(size=SIZE, fit=Fit.STRETCH))
    assert stretched[1, :, 0].max() < 15
    assert stretched[1, :, -1].min() > 240


def test_the_content_decides_not_the_ending(tmp_path: Path) -> None:
    Image.fromarray(gradient(20, 20)).save(tmp_path / "really.webp", lossless=True)
    (tmp_path / "really.webp").rename(tmp_path / "näme.jpg")
    assert read_picture(tmp_path / "näme.jpg", PictureSettings(size=20)).shape == (3, 20, 20)


def test_a_picture_is_upright_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned clockwise by 90 degrees when shown
    pixels = gradient(SIZE, SIZE)
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    found = read_picture(tmp_path / "turned.png", PictureSettings(size=SIZE))
    np.testing.assert_array_equal(found, np.rot90(pixels, -1).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_other_kinds_of_pixels_become_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray((np.full((SIZE, SIZE), 40_000)).astype(np.uint16))
    else:
        picture = Image.new("RGB", (SIZE, SIZE), (200, 200, 200)).convert(mode)
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    picture.save(path)
    found = read_picture(path, PictureSettings(size=SIZE))
    assert found.shape == (3, SIZE, SIZE)
    assert 150 <= found.mean() <= 255


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    Image.new("RGBA", (SIZE, SIZE), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    assert not read_picture(tmp_path / "clear.png", PictureSettings(size=SIZE)).any()


def truncated(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:2000])


def huge(path: Path) -> None:
    Image.new("1", (12_000, 12_000)).save(path, "PNG")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (truncated, "truncated"),
        (huge, "pixels"),
        (lambda path: path.write_text("no picture"), "cannot identify"),
        (lambda path: path.write_bytes(b""), "cannot identify"),
        (lambda path: None, "does not exist"),
    ],
)
def test_a_bad_file_is_named_in_one_line(tmp_path: Path, make, reason: str) -> None:
    path = tmp_path / "bad.png"
    make(path)
    with pytest.raises(DataError, match=reason) as caught:
        read_picture(path, PictureSettings(size=SIZE))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_clip_model_refuses_a_picture() -> None:
    with pytest.raises(ConfigurationError, match="takes clips"):
        Preprocessing(clip=ClipSettings()).of_pictures()
