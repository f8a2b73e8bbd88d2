"""Where the face is: boxes of a list, or of a YuNet model that the user supplies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from paretolens.data.face_finder import BoxesError, TimedBox, listed, read_boxes
from paretolens.data.pipeline.settings import FolderSettings
from paretolens.data.reading import Crop
from paretolens.errors import DataError

__all__ = ["Cropper", "ListedBoxes", "make_cropper"]


class Cropper(Protocol):
    """Finds what to keep of a file. Made once in each process."""

    def find(self, file: str, path: Path, times: Sequence[float]) -> list[TimedBox]:
        """Boxes of a file at or near some moments (seconds); none where it finds nothing.

        Raises:
            DataError: the file can't be read.
        """
        ...


class ListedBoxes:
    """Boxes that somebody has found before."""

    def __init__(self, boxes: Mapping[str, Sequence[TimedBox]]) -> None:
        self.boxes = boxes

    def find(self, file: str, path: Path, times: Sequence[float]) -> list[TimedBox]:
        """Those within the moments; else the one nearest to them."""
        return listed(self.boxes.get(file, ()), times)


def make_cropper(settings: FolderSettings) -> Cropper | None:
    """The cropper of some settings; None for the central square.

    Raises:
        DataError: the file of boxes or the model can't be used.
    """
    if settings.crop is Crop.BOXES and settings.boxes is not None:
        return ListedBoxes(_read(settings.boxes))
    if settings.crop is Crop.YUNET and settings.face_model is not None:
        from paretolens.data.pipeline.yunet import YuNet

        return YuNet(settings.face_model)
    return None


def _read(path: Path) -> dict[str, list[TimedBox]]:
    want = "boxes must be JSON {file: [[seconds, left, top, width, height], …]}"
    try:
        return read_boxes(path)
    except OSError as error:
        raise DataError(f"{want}, {path} can't be read ({error.strerror}): mend data.boxes") from error
    except BoxesError as error:
        raise DataError(f"{want}, {path} is not ({error}): write it again") from error
