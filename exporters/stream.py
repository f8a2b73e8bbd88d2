"""Verdicts on a running stream, always on the newest second: what the model has no time for is dropped, never queued.

One thread reads and keeps the newest pictures and sounds, no more than the model sees at once; the caller judges what is there
when it is ready. So memory and delay are bounded whatever the source and the machine.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.errors import DataError
from paretolens.exporters.clip_reader import assemble, square
from paretolens.exporters.predict_template import Predictor

__all__ = ["Recent", "judge_stream"]

Clock = Callable[[], float]


class Recent:
    """The newest pictures and sounds of a stream; written by one thread, read by another.

    Args:
        clip: Geometry of the model's window, from the manifest.
    """

    def __init__(self, clip: Mapping[str, Any]) -> None:
        self.clip = clip
        self.dropped = 0
        """Pictures that went out of the window before a verdict saw them."""
        self.broken = ""
        """Why the stream could not be read to its end; empty if it could, or goes on."""
        self._pictures: deque[tuple[float, np.ndarray]] = deque()
        self._sounds: deque[tuple[float, np.ndarray]] = deque()
        self._seen = -math.inf
        self._changed = threading.Condition()
        self._ended = False

    def show(self, picture: np.ndarray, at: float) -> None:
        """Add a picture (size, size, 3) uint8 of the time `at` in seconds."""
        with self._changed:
            if len(self._pictures) == self.clip["frames"]:
                self.dropped += self._pictures.popleft()[0] > self._seen
            self._pictures.append((at, picture))
            self._changed.notify()

    def play(self, samples: np.ndarray, at: float) -> None:
        """Add mono samples (N,) float32 at the model's rate that begin at `at` seconds."""
        with self._changed:
            self._sounds.append((at, samples))
            kept = at - 2.0 * self.clip["frames"] / self.clip["fps"]
            while self._sounds[0][0] < kept:
                self._sounds.popleft()

    def end(self) -> None:
        """No more will come."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def newest(self) -> tuple[list[np.ndarray], np.ndarray, float] | None:
        """Wait until there is a full window with a picture that was not judged; its pictures, sound and end; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._is_new())
            if not self._is_new():
                return None
            first, last = self._pictures[0][0], self._pictures[-1][0]
            self._seen = last
            return [picture for _, picture in self._pictures], self._sound(first), last + 1.0 / float(self.clip["fps"])

    def _is_new(self) -> bool:
        full = len(self._pictures) == self.clip["frames"] or self._ended
        return bool(self._pictures) and full and self._pictures[-1][0] > self._seen

    def _sound(self, start: float) -> np.ndarray:
        """The samples from `start` on; empty without sound."""
        rate = self.clip["audio"]["rate"]
        wave = np.zeros(round(self.clip["frames"] / self.clip["fps"] * rate), np.float32)
        heard = 0
        for at, samples in self._sounds:
            offset = round((at - start) * rate)
            first, last = max(0, offset), min(len(wave), offset + len(samples))
            if last > first:
                wave[first:last] = samples[first - offset : last - offset]
                heard = max(heard, last)
        return wave[:heard]


def judge_stream(
    predictor: Predictor, source: str, *, pace: float = 1.0, clock: Clock = time.monotonic
) -> Iterator[dict[str, Any]]:
    """Verdicts on a stream until it ends.

    Args:
        predictor: The bundle's model.
        source: What FFmpeg opens: a file (read at its own pace), a device, an address such as `rtsp://…`.
        pace: Seconds of a file that pass in a second; of live sources 1.
        clock: Tells seconds.

    Yields:
        verdict, probability, logit, model_ms, note, and `until` (second of the stream where the window ends), `behind_ms`
        (how old the window's end is when its verdict is there), `dropped` (pictures that no verdict has seen, so far).

    Raises:
        DataError: the source cannot be opened, has no pictures, or broke off; or the model looks at chosen frames or faces, which
            are not known while a stream runs.
    """
    import av

    if predictor.framing is not None:
        raise DataError("this model looks at chosen frames or parts of pictures, a stream is read evenly: give files")

    file = Path(source).is_file()
    try:
        container = av.open(source, options={} if file else {"fflags": "nobuffer"})  # of a file it would lose the first packets
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"stream {source}: FFmpeg cannot open it ({getattr(error, 'strerror', None) or error})") from error
    with container:
        if not container.streams.video:
            raise DataError(f"stream {source}: has no pictures; judge sounds without --stream")
        recent, stop, began = Recent(predictor.clip), threading.Event(), clock()
        playing = (recent, stop, lambda: (clock() - began) * pace, pace if file else 0.0)
        reader = threading.Thread(target=_read, args=(container, *playing), name="stream-reader")
        reader.start()
        try:
            while (window := recent.newest()) is not None:
                pictures, wave, until = window
                arrays, _, note = assemble(pictures, wave, predictor.clip)
                verdict = predictor.judge(arrays) | {"note": predictor.caution(arrays, note), "until": round(until, 3)}
                behind = ((clock() - began) * pace - until) / pace
                yield verdict | {"behind_ms": round(max(0.0, behind) * 1e3, 1), "dropped": recent.dropped}
        finally:
            stop.set()
            reader.join()
        if recent.broken:
            raise DataError(f"stream {source}: broke off ({recent.broken}); what came before was judged")


def _read(container: Any, recent: Recent, stop: threading.Event, now: Callable[[], float], pace: float) -> None:
    """Decode until the end; of a file (`pace` > 0) not faster than it plays. One picture per 1 / fps is made ready."""
    import av

    clip, due = recent.clip, 0.0
    streams: list[Any] = [container.streams.video[0], *container.streams.audio[:1]]
    resampler = av.AudioResampler(format="flt", layout="mono", rate=clip["audio"]["rate"])
    start: float | None = None
    try:
        for frame in container.decode(*streams):
            time_s = float(frame.time or 0.0)
            start = time_s if start is None else start
            at = time_s - start
            if stop.is_set() or (pace and stop.wait(max(0.0, (at - now()) / pace))):
                return
            if isinstance(frame, av.VideoFrame):
                if at >= due - 1e-3:
                    recent.show(square(frame, clip["size"]), at)
                    due = (math.floor(at * clip["fps"] + 1e-3) + 1) / clip["fps"]
            else:
                for part in resampler.resample(frame):
                    recent.play(part.to_ndarray()[0], float(part.time or 0.0) - start)
    except (av.FFmpegError, OSError, ValueError) as error:
        recent.broken = getattr(error, "strerror", None) or str(error)
    finally:
        recent.end()
