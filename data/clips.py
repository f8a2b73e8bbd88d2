"""One clip on disk → the arrays of one sample, decoded with PyAV.

The built-in set is read back from its encoded files by the same function, so what a model is trained on is what it will be given.
Memory is bounded by the window of one sample, whatever the length of the file.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from PIL import Image
from torch import Tensor

from paretolens.data.face_finder import Box, cut
from paretolens.data.features import mfcc
from paretolens.data.passing import Passing
from paretolens.data.preprocessing import ClipSettings, Preprocessing
from paretolens.errors import DataError
from paretolens.models.signature import Signature

__all__ = ["Clip", "OpenClip", "open_clip", "read_clip", "read_inputs"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """One decoded window of a file."""

    arrays: Mapping[str, np.ndarray]
    """video (T, 3, S, S) uint8, audio (L, F) float32 unscaled, video_mask (T,) and audio_mask (L,) bool, True = ignore."""
    seconds: float
    """Length of the picture within the window."""
    note: str
    """One line about what is missing, for instance the sound track; empty if nothing is."""


def read_clip(path: Path, settings: ClipSettings, *, start: float = 0.0) -> Clip:
    """Decode the window of a video file that starts at `start` seconds.

    Frames are those shown at k / fps seconds, cropped to the central square and resized. A clip without sound, or whose sound
    is too short for one feature frame, gets `audio` 0 and `audio_mask` all True, and `note` says so.

    Raises:
        DataError: The file is missing, cannot be decoded, or has no picture in the window.
    """
    with open_clip(path) as clip:
        return clip.read(settings, start=start)


def read_inputs(path: Path, signature: Signature, preprocessing: Preprocessing, *, start: float = 0.0) -> tuple[Tensor, ...]:
    """A file as the inputs of a model, batch of 1, in the signature's order; raises as `read_clip`."""
    preprocessing.require_usual()
    clip = read_clip(path, preprocessing.of_clips(), start=start)
    return preprocessing.inputs(signature, {name: array[None] for name, array in clip.arrays.items()})


@contextmanager
def open_clip(path: Path) -> Iterator["OpenClip"]:
    """A video file from which several windows can be read.

    Raises:
        DataError: The file is missing, or is no video.
    """
    if not path.is_file():
        raise DataError(f"a clip must be a file, {path} does not exist: check the path")
    with _readable(path):
        container = av.open(str(path))
    with container:
        if not container.streams.video:
            raise DataError(f"a clip must have a picture track, {path} has none: give a video file")
        if container.format.name.endswith("_pipe") or container.format.name == "image2":
            raise DataError(f"a clip must be a video, {path} is a still picture: give a video file")
        yield OpenClip(path, container)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever the decoder raises, as one line that names the file."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"a clip must be a video that FFmpeg decodes, {path} is not ({reason}): encode it again") from error


class OpenClip:
    """An open video file; for one thread."""

    def __init__(self, path: Path, container: InputContainer) -> None:
        self.path = path
        self.container = container
        self.picture: Any = container.streams.video[0]
        self.picture.thread_type = "NONE"
        self.moved = False

    @property
    def seconds(self) -> float:
        """Length of the picture track, or of the file; 0 where neither is written in it."""
        if self.picture.duration:
            return float(self.picture.duration * self.picture.time_base)
        return float((self.container.duration or 0) / av.time_base)

    @property
    def count(self) -> int:
        """Frames of the picture track as the file says, or as its length and rate say; 0 where neither is written in it."""
        return int(self.picture.frames or round(self.seconds * float(self.picture.average_rate or 0)))

    def read(self, settings: ClipSettings, *, start: float = 0.0, box: Box | None = None, sound: bool = True) -> Clip:
        """Decode one window; see `read_clip`.

        Args:
            settings: Geometry.
            start: Where the window starts, in seconds.
            box: What to take instead of the central square.
            sound: False leaves the sound masked.

        Raises:
            DataError: It cannot be decoded, or has no picture in the window.
        """
        with _readable(self.path):
            pictures, wave = self._decode(settings, start, box, sound)
        if not pictures:
            raise DataError(
                f"a clip must have at least one frame after {start:g} s, {self.path} has none: choose another clip or start"
            )
        return _assemble(pictures, wave, settings)

    def stills(self, times: Sequence[float]) -> list[np.ndarray]:
        """The frames shown at some moments (seconds, ascending), upright and at full size: (H, W, 3) uint8 each.

        Raises:
            DataError: They cannot be decoded. Moments after the last frame give the last one.
        """
        converter = VideoReformatter()
        with _readable(self.path):
            shown = [self._shown_at(time) for time in times]
        return [_upright(frame, converter) for frame in shown if frame is not None]

    def _shown_at(self, time: float) -> av.VideoFrame | None:
        """The last frame that begins at `time` or before, else the first."""
        self.container.seek(round(max(0.0, time) * av.time_base))
        self.moved = True
        last: av.VideoFrame | None = None
        for frame in self.container.decode(self.picture):
            if last is not None and float(frame.time or 0.0) > time:
                break
            last = frame
        return last

    def _decode(self, settings: ClipSettings, start: float, box: Box | None, sound: bool) -> tuple[list[np.ndarray], np.ndarray]:
        """The pictures of the window, one per 1 / fps, and its sound (samples,)."""
        for sparing in (True, False):
            eye, ear = _Eye(settings, box), _Ear(settings)
            eye.interval = float(1 / (self.picture.average_rate or settings.fps))
            passing = Passing(self.picture, partial(eye.wants, start=start))
            passing.able &= sparing
            self._through(eye, ear, passing, start, sound)
            if not passing.missed:
                break
        return eye.pictures, ear.sound[: ear.heard]

    def _through(self, eye: "_Eye", ear: "_Ear", passing: Passing, start: float, sound: bool) -> None:
        """Go through the file until eye and ear have what they want."""
        streams: list[Any] = [self.picture, *self.container.streams.audio[: int(sound)]]
        if start > 0.0 or self.moved:
            self.container.seek(round(start * av.time_base))
        self.moved = True
        ear.done = len(streams) == 1
        try:
            for packet in self.container.demux(*streams):
                seen = packet.stream is self.picture
                if (eye if seen else ear).done:
                    continue  # the last picture is shown before the sound ends: what follows it is never decoded
                for frame in passing.decode(packet) if seen else packet.decode():
                    if isinstance(frame, av.VideoFrame):
                        eye.see(frame, float(frame.time or 0.0) - start)
                    else:
                        ear.hear(frame, start)
                if eye.done and ear.done:
                    break
        finally:
            passing.close()
        eye.close()
        ear.close(start)


class _Ear:
    """Collects the window's sound as mono samples at the wanted rate."""

    def __init__(self, settings: ClipSettings) -> None:
        self.rate = settings.audio.rate
        self.sound = np.zeros(round(settings.seconds * self.rate), np.float32)
        self.heard = 0
        self.done = False
        self.resampler: av.AudioResampler | None = None

    def hear(self, frame: av.AudioFrame, start: float) -> None:
        """Take the part of the frame that lies in the window."""
        if self.done:
            return
        if self.resampler is None:
            self.resampler = av.AudioResampler(format="flt", layout="mono", rate=self.rate)
        self._place(self.resampler.resample(frame), start)

    def close(self, start: float) -> None:
        """Take what the resampler still holds."""
        if self.resampler is not None and not self.done:
            self._place(self.resampler.resample(None), start)

    def _place(self, parts: list[av.AudioFrame], start: float) -> None:
        for part in parts:
            samples = np.frombuffer(part.planes[0], np.float32, part.samples)
            at = round((float(part.time or 0.0) - start) * self.rate)
            first, last = max(0, at), min(len(self.sound), at + len(samples))
            if last > first:
                self.sound[first:last] = samples[first - at : last - at]
                self.heard = max(self.heard, last)
            self.done = at + len(samples) >= len(self.sound)


class _Eye:
    """Keeps, of a stream of frames in order, what is shown at each multiple of 1 / fps."""

    TOLERANCE = 1e-3

    def __init__(self, settings: ClipSettings, box: Box | None = None) -> None:
        self.settings = settings
        self.box = box
        self.converter = VideoReformatter()  # keeps its tables from frame to frame
        self.pictures: list[np.ndarray] = []
        self.interval = 1.0 / settings.fps
        self.last: tuple[av.VideoFrame, float] | None = None

    @property
    def done(self) -> bool:
        """Whether every picture of the window is there."""
        return len(self.pictures) >= self.settings.frames

    def wants(self, time: float, until: float, *, start: float) -> bool:
        """Whether a frame that is shown from `time` to `until` may be one of the pictures of a window that starts at `start`."""
        number = max(0, math.ceil((time - start - 2.0 * self.TOLERANCE) * self.settings.fps))
        return number < self.settings.frames and number / self.settings.fps < until - start

    def see(self, frame: av.VideoFrame, time: float) -> None:
        """The frame before was shown until `time`; the first frame stands for what comes before it, too."""
        self._fill(time)
        self.last = (frame, time)

    def close(self) -> None:
        """The last frame is shown for one interval of the stream."""
        if self.last is not None:
            self._fill(self.last[1] + self.interval)

    def _fill(self, until: float) -> None:
        picture: np.ndarray | None = None
        while self.last is not None and not self.done and len(self.pictures) / self.settings.fps < until - self.TOLERANCE:
            picture = _square(self.last[0], self.settings.size, self.converter, self.box) if picture is None else picture
            self.pictures.append(picture)


def _upright(frame: av.VideoFrame, converter: VideoReformatter) -> np.ndarray:
    """All of a frame, turned as the container says: (H, W, 3) uint8."""
    picture: np.ndarray = converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    turns = round((getattr(frame, "rotation", 0) or 0) / 90.0) % 4
    return np.rot90(picture, turns) if turns else picture


def _square(frame: av.VideoFrame, size: int, converter: VideoReformatter, box: Box | None = None) -> np.ndarray:
    """Upright part of a frame, the central square unless a box is given: (size, size, 3) uint8."""
    picture = _upright(frame, converter)
    if box is not None:
        return cut(picture, size, box)
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    picture = picture[top : top + side, left : left + side]
    return picture if side == size else _resized(picture, size)


def _resized(picture: np.ndarray, size: int) -> np.ndarray:
    resized = Image.fromarray(np.ascontiguousarray(picture)).resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.array(resized)


def _assemble(pictures: list[np.ndarray], wave: np.ndarray, settings: ClipSettings) -> Clip:
    count = len(pictures)
    T, L, size = settings.frames, settings.audio_frames, settings.size
    video = np.zeros((T, 3, size, size), np.uint8)
    video[:count] = np.stack(pictures).transpose(0, 3, 1, 2)
    seconds = count / settings.fps
    limit = round(seconds * settings.audio.rate)
    audio = np.zeros((L, settings.audio.coefficients), np.float32)
    heard = 0
    if len(wave[:limit]) >= settings.audio.hop:
        features = mfcc(torch.from_numpy(np.ascontiguousarray(wave[:limit])), settings.audio).numpy()
        heard = min(L, len(features))
        audio[:heard] = features[:heard]
    arrays: dict[str, np.ndarray] = {
        "video": video,
        "audio": audio,
        "video_mask": np.arange(T) >= count,
        "audio_mask": np.arange(L) >= heard,
    }
    return Clip(arrays=arrays, seconds=seconds, note="" if heard else "no sound: the audio is masked")
