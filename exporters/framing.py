"""Frames and parts of pictures chosen as in training; shipped as framing.py in bundles whose model was trained on such.

Needs only numpy, Pillow and onnxruntime. What is chosen, and how, stands under `preprocessing.reading` in the manifest.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from paretolens.data.face_finder import (
    LOOKS,
    Box,
    BoxesError,
    FaceFinder,
    FaceModelError,
    TimedBox,
    box_around,
    listed,
    read_boxes,
)
from paretolens.data.frame_choice import SELECTORS
from paretolens.exporters.bundle_model import Arrays, PredictError, read_part

FACE_MODEL = "face_model.onnx"
"""The file that finds faces, in the bundle."""
Stills = Callable[[list[float]], list[np.ndarray]]
"""Moments (seconds, ascending) → the pictures shown then, upright and at full size, (H, W, 3) uint8 each."""


class Framing:
    """Chooses for one bundle; belongs to one thread.

    Args:
        folder: The bundle.
        manifest: Its manifest.
        boxes: JSON {file: [[seconds, left, top, width, height], …]}, for a model that was trained on boxes of such a list.

    Raises:
        PredictError: the list of boxes is needed and not there, or not needed, or none; or the file that finds faces was changed.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], boxes: Path | None = None) -> None:
        reading = manifest["preprocessing"]["reading"]
        self.select, self.oversample = str(reading["select"]), int(reading["oversample"])
        self.crop, self.margin = str(reading["crop"]), float(reading["margin"])
        self.boxes = self._read(boxes)
        self.finder = None
        if self.crop == "yunet":
            try:
                self.finder = FaceFinder(read_part(folder, manifest, FACE_MODEL))
            except FaceModelError as error:
                raise PredictError(f"{FACE_MODEL} of the bundle {folder} is no YuNet ({error}): get the bundle again") from error

    def _read(self, path: Path | None) -> dict[str, list[TimedBox]]:
        want = "JSON {file: [[seconds, left, top, width, height], …]}, pixels of the upright picture"
        if (self.crop == "boxes") != (path is not None):
            asks = f"this model was trained on boxes of a list: name one for these files with --boxes ({want})"
            raise PredictError(asks if path is None else f"this model looks at no boxes of a list, leave --boxes {path} out")
        if path is None:
            return {}
        try:
            return read_boxes(path)
        except OSError as error:
            raise PredictError(f"--boxes must be {want}, {path} cannot be read ({error.strerror}): check the path") from error
        except BoxesError as error:
            raise PredictError(f"--boxes must be {want}, {path} is not ({error}): write it again") from error

    def candidates(self, clip: Mapping[str, Any]) -> Mapping[str, Any]:
        """The geometry in which frames are read, to choose from: the same window with more of them."""
        return {**clip, "frames": clip["frames"] * self.oversample, "fps": clip["fps"] * self.oversample}

    def chosen(self, arrays: Arrays, frames: int) -> Arrays:
        """The arrays of a clip with `frames` of its candidates, padded and masked."""
        video, shown = arrays["video"], int((~arrays["video_mask"]).sum())
        if self.select == "uniform":  # then the candidates are the frames
            return arrays
        rows = SELECTORS[self.select](video[:shown].transpose(0, 2, 3, 1), frames)
        kept = np.zeros((frames, *video.shape[1:]), np.uint8)
        kept[: len(rows)] = video[rows]
        return {**arrays, "video": kept, "video_mask": np.arange(frames) >= len(rows)}

    def box_of(self, path: Path, stills: Stills, start: float, seconds: float) -> tuple[Box | None, str]:
        """The part of a clip's pictures to keep, None = the central square, and a note where that is for want of a face."""
        if self.crop == "centre":
            return None, ""
        times = [start + part * seconds for part in LOOKS]
        if self.finder is None:
            found = self._listed(path, times)
        else:
            found = self.finder.find([Image.fromarray(picture) for picture in stills(times)], times)
        return box_around(found, self.margin), "" if found else "no face was found: the central square is judged"

    def box_in(self, path: Path) -> Box | None:
        """The part of a picture file to keep; None = as its geometry says.

        Raises:
            PredictError: the file cannot be decoded.
        """
        if self.finder is None:
            return box_around(self._listed(path, [0.0]), self.margin)
        try:
            with Image.open(path) as opened:
                picture = ImageOps.exif_transpose(opened).convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise PredictError(f"a picture must be a file that Pillow decodes, {path} is not ({error}): save it again") from error
        return box_around(self.finder.find([picture], [0.0]), self.margin)

    def _listed(self, path: Path, times: list[float]) -> list[TimedBox]:
        """By the path as it was given, else by the file's name."""
        known = next((self.boxes[key] for key in (path.as_posix(), path.name) if key in self.boxes), None)
        if known is None:
            raise PredictError(f"--boxes must have an entry for every file, {path.name} is not in it: add it")
        return listed(known, times)
