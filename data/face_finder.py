"""Where the face is and how it is cut out. Needs numpy, Pillow and onnxruntime only: bundles take this file with them as it is.

YuNet: Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector" (2023). The file as OpenCV's model zoo publishes it
(face_detection_yunet_2023mar.onnx) has one BGR input (1, 3, H, W) in 0..255 and, for strides 8, 16 and 32, the outputs cls_s,
obj_s and bbox_s; boxes are decoded as OpenCV's FaceDetectorYN does it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "LOOKS",
    "WHOLE",
    "Box",
    "BoxesError",
    "FaceFinder",
    "FaceModelError",
    "TimedBox",
    "box_around",
    "cut",
    "decode_boxes",
    "listed",
    "read_boxes",
]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the upright picture; what lies outside of the picture is black."""
TimedBox = tuple[float, float, float, float, float]
"""Seconds, left, top, width, height; pixels of the upright picture."""
WHOLE: Box = (0.0, 0.0, math.inf, math.inf)
"""All of the picture; each side is resized on its own."""
LOOKS = (0.1, 0.5, 0.9)
"""Shares of a window after which a face is looked for."""
STRIDES = (8, 16, 32)
SCORE = 0.6
"""Least √(class · objectness) of a face."""
SIDE = 320
"""Side of the model's input where the file leaves it open."""

Floats = NDArray[np.floating]


class FaceModelError(Exception):
    """A file is no YuNet model; the message says why, without the path."""


class BoxesError(Exception):
    """A file holds no boxes; the message says why, without the path."""


class FaceFinder:
    """The model in ONNX Runtime, on one thread.

    Args:
        content: Bytes of the .onnx file.

    Raises:
        FaceModelError: it is no YuNet.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self.session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises types of its own for each fault
            raise FaceModelError(str(error).splitlines()[0]) from error
        self.names = [output.name for output in self.session.get_outputs()]
        missing = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox")]
        missing = [name for name in missing if name not in self.names]
        if missing:
            raise FaceModelError(f"it lacks YuNet's outputs {', '.join(missing)}")
        self.input = self.session.get_inputs()[0]
        sides = [side if isinstance(side, int) else SIDE for side in self.input.shape[2:]]
        self.height, self.width = sides

    def find(self, pictures: Sequence[Image.Image], times: Sequence[float]) -> list[TimedBox]:
        """The most certain face in each picture that has one, and its moment."""
        faces = ((time, self.face(picture)) for time, picture in zip(times, pictures, strict=False))
        return [(time, *box) for time, box in faces if box is not None]

    def face(self, picture: Image.Image) -> tuple[float, float, float, float] | None:
        """Left, top, width, height of the most certain face, in the picture's pixels; None without one."""
        scale = min(self.width / picture.width, self.height / picture.height)
        small = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), reducing_gap=2.0)
        padded = np.zeros((self.height, self.width, 3), np.float32)
        padded[: small.height, : small.width] = np.asarray(small)[..., ::-1]
        outputs = dict(
            zip(self.names, self.session.run(self.names, {self.input.name: padded.transpose(2, 0, 1)[None]}), strict=True)
        )
        boxes, scores = decode_boxes(outputs, self.height, self.width)
        if not len(scores) or scores.max() < SCORE:
            return None
        left, top, width, height = boxes[int(scores.argmax())] / scale
        return float(left), float(top), float(width), float(height)


def decode_boxes(outputs: Mapping[str, Floats], height: int, width: int) -> tuple[Floats, Floats]:
    """The model's outputs as boxes.

    Args:
        outputs: Per stride s: cls_s and obj_s (1, n, 1) in 0..1, bbox_s (1, n, 4); n = height / s · width / s, by rows.
        height: Of the model's input, in pixels.
        width: Of the model's input, in pixels.

    Returns:
        (N, 4) left, top, width, height in pixels, and (N,) √(class · objectness).
    """
    boxes, scores = [], []
    for stride in STRIDES:
        rows, columns = np.divmod(np.arange((height // stride) * (width // stride)), width // stride)
        shift = np.asarray(outputs[f"bbox_{stride}"], np.float64).reshape(-1, 4)
        x, y = (columns + shift[:, 0]) * stride, (rows + shift[:, 1]) * stride
        w, h = np.exp(shift[:, 2]) * stride, np.exp(shift[:, 3]) * stride
        boxes.append(np.stack([x - w / 2, y - h / 2, w, h], axis=1))
        certain = (np.clip(np.asarray(outputs[f"{kind}_{stride}"], np.float64).ravel(), 0.0, 1.0) for kind in ("cls", "obj"))
        scores.append(np.sqrt(next(certain) * next(certain)))
    return np.concatenate(boxes), np.concatenate(scores)


def read_boxes(path: Path) -> dict[str, list[TimedBox]]:
    """The boxes of a JSON file {file: [[seconds, left, top, width, height], …]}.

    Raises:
        BoxesError: an entry is none such with a size above 0.
        OSError: the file can't be read.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, list[TimedBox]] = {}
        for file, rows in plain.items():
            found[file] = [(float(t), float(x), float(y), float(w), float(h)) for t, x, y, w, h in rows]
            if any(row[3] <= 0 or row[4] <= 0 for row in found[file]):
                raise BoxesError(f"{file} has a box without size")
    except (ValueError, TypeError, AttributeError) as error:
        raise BoxesError(str(error)) from error
    return found


def listed(boxes: Sequence[TimedBox], times: Sequence[float]) -> list[TimedBox]:
    """Of boxes that somebody has found before, those within some moments (seconds); else the one nearest to them."""
    known = list(boxes)
    if not known or not times:
        return known
    within = [box for box in known if min(times) <= box[0] <= max(times)]
    return within or [min(known, key=lambda box: min(abs(box[0] - time) for time in times))]


def box_around(boxes: Sequence[TimedBox], margin: float) -> Box | None:
    """A square around the median of some boxes, with room on each side; None for no boxes."""
    if not boxes:
        return None
    left, top, width, height = np.median(np.array(boxes, np.float64)[:, 1:], axis=0)
    half = max(width, height) * (0.5 + margin)
    x, y = left + width / 2, top + height / 2
    return (float(x - half), float(y - half), float(x + half), float(y + half))


def cut(picture: np.ndarray, size: int, box: Box) -> np.ndarray:
    """A part of a picture (H, W, 3) uint8, resized: (size, size, 3) uint8."""
    height, width = picture.shape[:2]
    left, top = round(box[0]), round(box[1])
    right, bottom = (round(edge) if math.isfinite(edge) else end for edge, end in zip(box[2:], (width, height), strict=True))
    part = Image.fromarray(np.ascontiguousarray(picture)).crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    return np.array(part.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))
