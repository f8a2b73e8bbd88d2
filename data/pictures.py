"""From one picture file to the arrays of one sample, by `picture_reader`, which bundles take with them."""

from pathlib import Path

import numpy as np
from torch import Tensor

from paretolens.data.face_finder import Box
from paretolens.data.picture_reader import UnreadablePictureError, read_pixels
from paretolens.data.preprocessing import PictureSettings, Preprocessing
from paretolens.errors import DataError
from paretolens.models.signature import Signature

__all__ = ["read_picture", "read_picture_inputs"]


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


def read_picture_inputs(path: Path, signature: Signature, preprocessing: Preprocessing) -> tuple[Tensor, ...]:
    """A file as the inputs of a model, batch of 1; raises as `read_picture`."""
    preprocessing.require_usual()
    picture = read_picture(path, preprocessing.of_pictures())
    name = signature.inputs[0].name
    return preprocessing.inputs(signature, {name: picture[None]})
