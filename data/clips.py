"""One clip on disk → the arrays of one sample, decoded with PyAV.

The built-in set is read back from its encoded files by the same function, so what a model is trained on is what it will be given.
Memory is bounded by the window of one sample, whatever the length of the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from PIL import Image
from torch import Tensor

from paretolens.data.features import mfcc
from paretolens.data.preprocessing import ClipSettings, Preprocessing
from paretolens.errors import DataError
from paretolens.models.signature import Signature

__all__ = ["Clip", "read_clip", "read_inputs"]


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
    if not path.is_file():
        raise DataError(f"a clip must be a file, {path} does not exist: check the path")
    try:
        pictures, times, wave = _decode(path, settings, start)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"a clip must be a video that FFmpeg decodes, {path} is not ({reason}): encode it again") from error
    if not pictures:
        raise DataError(f"a clip must have at least one frame after {start:g} s, {path} has none: choose another clip or start")
    count = max(1, min(settings.frames, round((times[-1] + 1.0 / settings.fps) * settings.fps)))
    return _assemble(pictures, times, wave, count, settings)


def read_inputs(path: Path, signature: Signature, preprocessing: Preprocessing, *, start: float = 0.0) -> tuple[Tensor, ...]:
    """A file as the inputs of a model, batch of 1, in the signature's order; raises as `read_clip`."""
    clip = read_clip(path, preprocessing.clip, start=start)
    return preprocessing.inputs(signature, {name: array[None] for name, array in clip.arrays.items()})


def _decode(path: Path, settings: ClipSettings, start: float) -> tuple[list[np.ndarray], list[float], np.ndarray]:
    """Pictures nearest to the wanted times, their times from `start` in seconds, and the window's sound (samples,)."""
    chooser = _FrameChooser(settings)
    rate = settings.audio.rate
    sound = np.zeros(round(settings.seconds * rate), np.float32)
    heard = 0
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise DataError(f"a clip must have a picture track, {path} has none: give a video file")
        streams: list[Any] = [container.streams.video[0]]
        streams[0].thread_type = "NONE"
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        if container.streams.audio:
            streams.append(container.streams.audio[0])
        if start > 0.0:
            container.seek(round(start * av.time_base))
        picture_done, sound_done = False, len(streams) == 1
        for frame in container.decode(*streams):
            time = float(frame.time or 0.0) - start
            if isinstance(frame, av.VideoFrame):
                picture_done = time >= settings.seconds
                chooser.offer(frame, time)
            else:
                sound_done = time >= settings.seconds
                for part in resampler.resample(frame):
                    heard = max(heard, _place(sound, part.to_ndarray()[0], round((float(part.time or 0.0) - start) * rate)))
            if picture_done and sound_done:
                break
        for part in resampler.resample(None) if len(streams) > 1 and not sound_done else ():
            heard = max(heard, _place(sound, part.to_ndarray()[0], round((float(part.time or 0.0) - start) * rate)))
    return chooser.pictures, chooser.times, sound[:heard]


def _place(sound: np.ndarray, part: np.ndarray, at: int) -> int:
    """Copy the part of `part` that lies in the window, return where it ends."""
    first, last = max(0, at), min(len(sound), at + len(part))
    if last <= first:
        return 0
    sound[first:last] = part[first - at : last - at]
    return last


class _FrameChooser:
    """Keeps, of a stream of frames in order, the one nearest to each multiple of 1 / fps."""

    def __init__(self, settings: ClipSettings) -> None:
        self.settings = settings
        self.converter = VideoReformatter()  # keeps its tables from frame to frame
        self.pictures: list[np.ndarray] = []
        self.times: list[float] = []

    def offer(self, frame: av.VideoFrame, time: float) -> None:
        """Take the frame if it is the first within half an interval of the next wanted time, or past it."""
        half = 0.5 / self.settings.fps
        picture: np.ndarray | None = None
        while len(self.pictures) < self.settings.frames and time >= len(self.pictures) / self.settings.fps - min(half, 1e-3):
            late = time - len(self.pictures) / self.settings.fps
            if late > 4.0 * half and self.pictures:  # a gap: repeat what was shown
                self._add(self.pictures[-1])
                continue
            picture = picture if picture is not None else _square(frame, self.settings.size, self.converter)
            self._add(picture)

    def _add(self, picture: np.ndarray) -> None:
        self.times.append(len(self.pictures) / self.settings.fps)
        self.pictures.append(picture)


def _square(frame: av.VideoFrame, size: int, converter: VideoReformatter) -> np.ndarray:
    """Upright central square of a frame: (size, size, 3) uint8."""
    picture: np.ndarray = converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    turns = round((getattr(frame, "rotation", 0) or 0) / 90.0) % 4
    picture = np.rot90(picture, turns) if turns else picture
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    picture = picture[top : top + side, left : left + side]
    if side == size:
        return picture
    resized = Image.fromarray(np.ascontiguousarray(picture)).resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.array(resized)


def _assemble(pictures: list[np.ndarray], times: list[float], wave: np.ndarray, count: int, settings: ClipSettings) -> Clip:
    T, L, size = settings.frames, settings.audio_frames, settings.size
    video = np.zeros((T, 3, size, size), np.uint8)
    video[:count] = np.stack(pictures[:count]).transpose(0, 3, 1, 2)
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
