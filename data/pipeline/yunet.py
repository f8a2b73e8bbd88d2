"""YuNet, a face detector, from an .onnx file that the user supplies.

Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector" (2023). The file as OpenCV's model zoo publishes it
(face_detection_yunet_2023mar.onnx) has one BGR input (1, 3, H, W) in 0..255 and, for strides 8, 16 and 32, the outputs cls_s,
obj_s and bbox_s; boxes are decoded as OpenCV's FaceDetectorYN does it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from paretolens.data.clips import open_clip
from paretolens.data.pipeline.crop import TimedBox
from paretolens.data.readers.listing import Media, media_of
from paretolens.errors import DataError

__all__ = ["YuNet", "decode_boxes"]

STRIDES = (8, 16, 32)
SCORE = 0.6
"""Least √(class · objectness) of a face."""
SIDE = 320
"""Side of the model's input where the file leaves it open."""

Floats = NDArray[np.floating]


class YuNet:
    """The model in ONNX Runtime, on one thread."""

    def __init__(self, model: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self.session: Any = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises types of its own for each fault
            reason = str(error).splitlines()[0]
            raise DataError(
                f"data.face_model must be a YuNet .onnx file, {model} is not ({reason}): name another file"
            ) from error
        self.names = [output.name for output in self.session.get_outputs()]
        missing = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox")]
        missing = [name for name in missing if name not in self.names]
        if missing:
            raise DataError(f"data.face_model must have YuNet's outputs, {model} lacks {', '.join(missing)}: name another file")
        self.input = self.session.get_inputs()[0]
        sides = [side if isinstance(side, int) else SIDE for side in self.input.shape[2:]]
        self.height, self.width = sides

    def find(self, file: str, path: Path, times: Sequence[float]) -> list[TimedBox]:
        """The most certain face at each moment."""
        found = []
        for time, picture in zip(times, _pictures(path, times), strict=False):
            box = self.face(picture)
            if box is not None:
                found.append((time, *box))
        return found

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
