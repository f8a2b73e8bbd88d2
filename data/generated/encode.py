"""Pictures and sound → an .mp4 file with H.264 and AAC, always by the same encoder in the same way."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

__all__ = ["write_clip"]

X264 = "mbtree=0:rc-lookahead=0:bframes=0"  # with mbtree the same small pictures gave different bytes from run to run


def write_clip(
    path: Path, pictures: np.ndarray, fps: float, wave: np.ndarray | None, rate: int, *, crf: int, bit_rate: int
) -> None:
    """Encode a clip.

    Args:
        path: A new .mp4 file.
        pictures: (n, H, W, 3) uint8, even sizes.
        fps: Frames a second.
        wave: (samples,) float32 in -1..1, or None for a file without sound.
        rate: Sampling rate in Hz.
        crf: H.264 constant rate factor, 0..51.
        bit_rate: AAC bits a second.
    """
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        rational = Fraction(fps).limit_denominator(1001)
        options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "flags": "+bitexact", "x264-params": X264}
        video: Any = container.add_stream("libx264", rate=rational, options=options)
        video.width, video.height, video.pix_fmt = pictures.shape[2], pictures.shape[1], "yuv420p"
        video.thread_count = 1
        audio: Any = None
        if wave is not None:
            audio = container.add_stream("aac", rate=rate, layout="mono", options={"flags": "+bitexact", "aac_coder": "fast"})
            audio.bit_rate = bit_rate
        converter = VideoReformatter()
        for index, picture in enumerate(pictures):
            frame = converter.reformat(av.VideoFrame.from_ndarray(picture, format="rgb24"), format="yuv420p", threads=1)
            frame.pts, frame.time_base = index, 1 / rational
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if wave is not None:
            _write_sound(container, audio, wave, rate)


def _write_sound(container: Any, stream: Any, wave: np.ndarray, rate: int) -> None:
    for start in range(0, len(wave), 1024):
        part = np.ascontiguousarray(wave[None, start : start + 1024], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
