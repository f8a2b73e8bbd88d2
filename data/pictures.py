"""From one picture file to the arrays of one sample, by `picture_reader`, which bundles take with them."""

from pathlib import Path

import numpy as np

from paretolens.data.face_finder import Box
from paretolens.data.picture_reader import UnreadablePictureError, read_pixels
from paretolens.data.preprocessing import PictureSettings
from paretolens.errors import DataError

__all__ = ["read_picture"]


def read_picture(path: Path, settings: PictureSettings, *, box: Box | None = None) -> np.ndarray:
    """Decode a picture, or the part of it in a box: (3, S, S) uint8 RGB, upright.

    Raises:
        DataError: the file is missing, cannot be decoded, or is too large.
    """
    if not path.is_file():
        raise DataError(f"a picture must be a file, {path} does not exist: check the path")
    try:
        return read_pixels(path, settings.size, settings.fit, box)
    except UnreadablePictureError as error:
        raise DataError(f"a picture must be a file that Pillow decodes, {path} is not ({error}): save it again") from error
