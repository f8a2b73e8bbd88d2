"""Where the face is: boxes of a list, or of a YuNet model that the user supplies."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from paretolens.data.clips import Box
from paretolens.data.pipeline.settings import Crop, FolderSettings
from paretolens.errors import DataError

__all__ = ["Cropper", "ListedBoxes", "TimedBox", "box_around", "make_cropper", "read_boxes"]

TimedBox = tuple[float, float, float, float, float]
"""Seconds, left, top, width, height; pixels of the upright picture."""


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
        known = list(self.boxes.get(file, ()))
        if not known or not times:
            return known
        within = [box for box in known if min(times) <= box[0] <= max(times)]
        return within or [min(known, key=lambda box: min(abs(box[0] - time) for time in times))]


def make_cropper(settings: FolderSettings) -> Cropper | None:
    """The cropper of some settings; None for the central square.

    Raises:
        DataError: the file of boxes or the model can't be used.
    """
    if settings.crop is Crop.BOXES and settings.boxes is not None:
        return ListedBoxes(read_boxes(settings.boxes))
    if settings.crop is Crop.YUNET and settings.face_model is not None:
        from paretolens.data.pipeline.yunet import YuNet

        return YuNet(settings.face_model)
    return None


def read_boxes(path: Path) -> dict[str, list[TimedBox]]:
    """The boxes of a JSON file.

    Raises:
        DataError: it can't be read, or an entry is no [seconds, left, top, width, height] with a size above 0.
    """
    want = "boxes must be JSON {file: [[seconds, left, top, width, height], …]}"
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, list[TimedBox]] = {}
        for file, rows in plain.items():
            found[file] = [(float(t), float(x), float(y), float(w), float(h)) for t, x, y, w, h in rows]
            if any(row[3] <= 0 or row[4] <= 0 for row in found[file]):
                raise ValueError(f"{file} has a box without size")
    except OSError as error:
        raise DataError(f"{want}, {path} can't be read ({error.strerror}): mend data.boxes") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{want}, {path} is not ({error}): write it again") from error
    return found


def box_around(boxes: Sequence[TimedBox], margin: float) -> Box | None:
    """A square around the median of some boxes, with room on each side; None for no boxes."""
    if not boxes:
        return None
    left, top, width, height = np.median(np.array(boxes, np.float64)[:, 1:], axis=0)
    half = max(width, height) * (0.5 + margin)
    x, y = left + width / 2, top + height / 2
    return (float(x - half), float(y - half), float(x + half), float(y + half))
