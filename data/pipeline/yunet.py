"""Faces of files, by a YuNet model that the user supplies; the model itself is in `face_finder`."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from paretolens.data.clips import open_clip
from paretolens.data.face_finder import FaceFinder, FaceModelError, TimedBox
from paretolens.data.readers.listing import Media, media_of
from paretolens.errors import DataError

__all__ = ["YuNet"]


class YuNet:
    """The model of a file.

    Raises:
        DataError: it is no YuNet, or can't be read.
    """

    def __init__(self, model: Path) -> None:
        try:
            self.finder = FaceFinder(model.read_bytes())
        except (FaceModelError, OSError) as error:
            raise DataError(f"data.face_model must be a YuNet .onnx file, {model} is not ({error}): name another file") from error

    def find(self, file: str, path: Path, times: Sequence[float]) -> list[TimedBox]:
        """The most certain face at each moment."""
        return self.finder.find(_pictures(path, times), times)


def _pictures(path: Path, times: Sequence[float]) -> list[Image.Image]:
    """The picture itself, or a video's frames at some moments, at full size."""
    if media_of(path.name) is Media.PICTURE:
        try:
            with Image.open(path) as opened:
                return [ImageOps.exif_transpose(opened).convert("RGB")]
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"a picture must be a file that Pillow decodes, {path} is not ({error}): save it again") from error
    with open_clip(path) as clip:
        return [Image.fromarray(picture) for picture in clip.stills(times)]
