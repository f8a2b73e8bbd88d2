"""Read a clip, a folder of pictures or a sound as the training clips were read; shipped in bundles as clip_reader.py.

Needs only numpy and av, and what framing.py needs where the bundle has it. Every constant comes from the bundle's manifest. What
is missing (sound, picture) is masked.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paretolens.exporters.bundle_model import Arrays, PredictError

if TYPE_CHECKING:
    from paretolens.data.face_finder import Box
    from paretolens.exporters.framing import Framing

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


def read_clip(
    path: Path,
    clip: Mapping[str, Any],
    *,
    start: float = 0.0,
    fps: float | None = None,
    framing: "Framing | None" = None,
) -> tuple[Arrays, float, str]:
    """Decode the window of a file or of a folder of pictures: its arrays, its length in seconds, and what is missing.

    Frames are those shown at k / fps seconds, cropped to the central square and resized, unless `framing` chooses others. What is
    missing is masked. `fps` is the rate at which the pictures of a folder were taken, by default as many as are looked at.
    """
    import av

    if path.is_dir():
        pictures, sounds = (in_folder(path, kinds) for kinds in (PICTURES, (".wav",)))
        sound = sounds[0] if sounds else None
        return read_frames(pictures, sound, clip, start=start, fps=fps, name=path, framing=framing)
    if not path.is_file():
        raise PredictError(f"a clip must be a file or a folder of pictures, {path} does not exist: check the path")
    candidates, box, word = clip, None, ""
    try:
        with av.open(str(path)) as container:
            if framing is not None and container.streams.video:
                candidates = framing.candidates(clip)
                box, word = framing.box_of(path, partial(stills, path), start, clip["frames"] / clip["fps"])
            seen, heard = decode(container, path, candidates, start, box)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PredictError(
            f"a clip must be a video or a sound that FFmpeg decodes, {path} is not ({reason}): encode it again"
        ) from error
    return _framed(assemble(seen, heard, candidates), clip, framing, word)


def _framed(
    made: tuple[Arrays, float, str], clip: Mapping[str, Any], framing: "Framing | None", word: str
) -> tuple[Arrays, float, str]:
    """What was assembled of the candidates, with the chosen frames alone."""
    arrays, seconds, note = made
    if framing is not None and not arrays["video_mask"].all():
        arrays = framing.chosen(arrays, int(clip["frames"]))
    return arrays, seconds, "; ".join(filter(None, (note, word)))


def stills(path: Path, times: list[float]) -> list[np.ndarray]:
    """The frames shown at some moments (seconds, ascending), upright and at full size: (H, W, 3) uint8 each."""
    import av

    found = []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        for time in times:
            container.seek(round(max(0.0, time) * av.time_base))
            last: Any = None
            for frame in container.decode(video=0):
                if last is not None and float(frame.time or 0.0) > time:
                    break
                last = frame
            found += [] if last is None else [upright(last)]
    return found


def read_frames(
    pictures: list[Path],
    sound: Path | None,
    clip: Mapping[str, Any],
    *,
    start: float,
    fps: float | None,
    name: Path,
    framing: "Framing | None" = None,
) -> tuple[Arrays, float, str]:
    """The window of single pictures in order and of the sound that belongs to them, as `read_clip` gives it."""
    import av

    if not pictures:
        raise PredictError(f"a folder must hold pictures ({', '.join(PICTURES)}), {name} has none: give a clip or its frames")
    candidates, box, word = clip if framing is None else framing.candidates(clip), None, ""
    rate = fps or float(candidates["fps"])
    shown = min(max(0, int(start * rate)), len(pictures))
    if framing is not None:

        def shown_at(times: list[float]) -> list[np.ndarray]:
            return [upright(_frame(pictures[min(int(time * rate), len(pictures) - 1)])) for time in times]

        box, word = framing.box_of(name, shown_at, start, clip["frames"] / clip["fps"])
    eye = Eye(candidates, box)
    for index in range(shown, len(pictures)):
        eye.see(_frame(pictures[index]), index / rate - start)
        if eye.done:
            break
    eye.close(1.0 / rate)
    if not eye.pictures:
        raise PredictError(f"a clip must have at least one frame after {start:g} s, {name} has none: choose another start")
    wave = np.zeros(0, np.float32)
    if sound is not None:
        try:
            with av.open(str(sound)) as container:
                wave = decode(container, sound, clip, start)[1]
        except (av.FFmpegError, OSError, ValueError) as error:
            raise PredictError(f"a sound must be one that FFmpeg decodes, {sound} is not: mend it or take it away") from error
    return _framed(assemble(eye.pictures, wave, candidates), clip, framing, word)


def _frame(picture: Path) -> Any:
    """A picture file as a frame."""
    import av

    try:
        with av.open(str(picture)) as container:
            return next(container.decode(video=0))
    except (av.FFmpegError, OSError, ValueError, StopIteration, IndexError) as error:
        raise PredictError(f"a frame must be a picture that FFmpeg decodes, {picture} is not: mend it") from error


def assemble(pictures: list[np.ndarray], wave: np.ndarray, clip: Mapping[str, Any]) -> tuple[Arrays, float, str]:
    """Padded arrays with their masks, the length in seconds, and what is missing; sound counts as far as there are pictures."""
    audio, count = clip["audio"], len(pictures)
    seconds = count / clip["fps"] if count else len(wave) / audio["rate"]
    T, L = clip["frames"], max(1, round(clip["frames"] / clip["fps"] * audio["rate"] / audio["hop"]))
    video = np.zeros((T, 3, clip["size"], clip["size"]), np.uint8)
    if count:
        video[:count] = np.stack(pictures).transpose(0, 3, 1, 2)
    features = mfcc(wave[: round(seconds * audio["rate"])], audio)[:L]
    sound = np.zeros((L, audio["coefficients"]), np.float32)
    sound[: len(features)] = features
    masks = {"video_mask": np.arange(T) >= count, "audio_mask": np.arange(L) >= len(features)}
    if not count and not len(features):
        raise PredictError("a clip must have pictures or sound within the window, this one has neither: choose another start")
    note = "no picture: the video is masked" if not count else "" if len(features) else "no sound: the audio is masked"
    return {"video": video, "audio": sound, **masks}, seconds, note


def in_folder(folder: Path, kinds: tuple[str, ...]) -> list[Path]:
    """Files of some kinds in a folder, numbers in their names in the order of their values."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in kinds and not path.name.startswith("."))
    return sorted(found, key=natural)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key by which frame 2 comes before frame 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", path.name) if part]


def decode(
    container: Any, path: Path, clip: Mapping[str, Any], start: float, box: "Box | None" = None
) -> tuple[list[np.ndarray], np.ndarray]:
    """The pictures (size, size, 3) uint8 of the window, one per 1 / fps, and its mono sound (samples,) float32."""
    import av

    streams: list[Any] = [*container.streams.video[:1], *container.streams.audio[:1]]
    if not streams:
        raise PredictError(f"a clip must have pictures or sound, {path} has neither: give a video or a .wav file")
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        raise PredictError(f"a clip must be a video, {path} is a still picture: give a video file or a folder of its frames")
    seen, interval = bool(container.streams.video), 0.0
    if seen:
        streams[0].thread_type = "NONE"
        interval = float(1 / (streams[0].average_rate or clip["fps"]))
    eye, ear = Eye(clip, box), Ear(clip, start, silent=not container.streams.audio)
    if start > 0.0:
        container.seek(round(start * av.time_base))
    for frame in container.decode(*streams):
        if isinstance(frame, av.VideoFrame):
            eye.see(frame, float(frame.time or 0.0) - start)
        else:
            ear.hear(frame)
        if ear.done and (eye.done or not seen):
            break
    eye.close(interval)
    ear.hear(None)
    if seen and not eye.pictures:
        raise PredictError(
            f"a clip must have at least one frame after {start:g} s, {path} has none: choose another clip or start"
        )
    return eye.pictures, ear.wave[: ear.heard]


class Eye:
    """Keeps, of a stream of frames in order, what is shown at each multiple of 1 / fps."""

    def __init__(self, clip: Mapping[str, Any], box: "Box | None" = None) -> None:
        self.clip = clip
        self.box = box
        self.pictures: list[np.ndarray] = []
        self.last: tuple[Any, float] | None = None

    @property
    def done(self) -> bool:
        """Whether every picture of the window is there."""
        return len(self.pictures) >= int(self.clip["frames"])

    def see(self, frame: Any, when: float) -> None:
        """The frame before was shown until `when`; the first one stands for what comes before it, too."""
        self._fill(when)
        self.last = (frame, when)

    def close(self, interval: float) -> None:
        """The last frame is shown for one interval of the stream."""
        if self.last is not None:
            self._fill(self.last[1] + interval)

    def _fill(self, until: float) -> None:
        picture: np.ndarray | None = None
        while self.last is not None and not self.done and len(self.pictures) / self.clip["fps"] < until - 1e-3:
            picture = square(self.last[0], self.clip["size"], self.box) if picture is None else picture
            self.pictures.append(picture)


class Ear:
    """Collects the window's sound as mono samples at the wanted rate."""

    def __init__(self, clip: Mapping[str, Any], start: float, *, silent: bool) -> None:
        self.rate, self.start = clip["audio"]["rate"], start
        self.wave = np.zeros(round(clip["frames"] / clip["fps"] * self.rate), np.float32)
        self.heard = 0
        self.done = silent
        self.resampler: Any = None

    def hear(self, frame: Any) -> None:
        """Take the part of a frame that lies in the window; None takes what the resampler still holds."""
        import av

        if self.done or (frame is None and self.resampler is None):
            return
        if self.resampler is None:
            self.resampler = av.AudioResampler(format="flt", layout="mono", rate=self.rate)
        for part in self.resampler.resample(frame):
            samples, at = part.to_ndarray()[0], round((float(part.time or 0.0) - self.start) * self.rate)
            first, last = max(0, at), min(len(self.wave), at + len(samples))
            if last > first:
                self.wave[first:last] = samples[first - at : last - at]
                self.heard = max(self.heard, last)
            self.done = at + len(samples) >= len(self.wave)


def upright(frame: Any) -> np.ndarray:
    """All of a frame, turned as the container says: (H, W, 3) uint8."""
    picture: np.ndarray = frame.to_ndarray(format="rgb24")
    turns = round((getattr(frame, "rotation", 0) or 0) / 90.0) % 4
    return np.rot90(picture, turns) if turns else picture


def square(frame: Any, size: int, box: "Box | None" = None) -> np.ndarray:
    """Upright part of a frame, the central square unless a box is given: (size, size, 3) uint8."""
    picture = upright(frame)
    if box is not None:
        from paretolens.data.face_finder import cut

        return cut(picture, size, box)
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return resize(picture[top : top + side, left : left + side], size)


def resize(picture: np.ndarray, size: int) -> np.ndarray:
    """Bicubic resizing of a square (side, side, 3) uint8 picture, bit for bit that of Pillow with `reducing_gap=3`."""
    side = len(picture)
    if side == size:
        return np.ascontiguousarray(picture)
    factor = int(side / size / 3.0) or 1
    small = reduce(picture, factor) if factor > 1 else picture
    weights = bicubic(len(small), float(np.float32(side / factor)), size)
    wide = fixed(np.einsum("oi,hic->hoc", weights, small.astype(np.float64), optimize=True))
    return fixed(np.einsum("oi,iwc->owc", weights, wide.astype(np.float64), optimize=True))


def reduce(picture: np.ndarray, factor: int) -> np.ndarray:
    """Means of blocks of factor × factor pixels in Pillow's integer arithmetic; blocks at the far edges may be smaller."""
    edges = np.arange(0, len(picture), factor)
    sums = np.add.reduceat(np.add.reduceat(picture.astype(np.uint64), edges, axis=0), edges, axis=1)
    lengths = np.minimum(factor, len(picture) - edges)
    area = np.multiply.outer(lengths, lengths)[:, :, None].astype(np.uint64)
    multiplier = (np.float32(2.0**32) / (area * 256).astype(np.float32)).astype(np.uint64)
    return (((sums + area // 2) * multiplier) >> np.uint64(24)).astype(np.uint8)


def bicubic(inner: int, length: float, size: int) -> np.ndarray:
    """(size, inner) weights of the cubic filter (a = -1/2), integers of 22 binary places; `length` of `inner` pixels count."""
    step = length / size
    width = max(step, 1.0)
    matrix = np.zeros((size, inner))
    for row in range(size):
        centre = (row + 0.5) * step
        first, last = max(0, int(centre - 2.0 * width + 0.5)), min(inner, int(centre + 2.0 * width + 0.5))
        x = np.abs((np.arange(first, last) - centre + 0.5) / width)
        near, far = (1.5 * x - 2.5) * x * x + 1.0, (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
        weights = np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
        matrix[row, first:last] = weights / weights.sum()
    return np.trunc(matrix * 2.0**22 + np.copysign(0.5, matrix))


def fixed(sums: np.ndarray) -> np.ndarray:
    """Sums of pixels × integer weights back to 0..255."""
    return np.clip(np.floor((sums + 2.0**21) / 2.0**22), 0, 255).astype(np.uint8)


def mfcc(wave: np.ndarray, audio: Mapping[str, Any]) -> np.ndarray:
    """Mel-frequency cepstral coefficients: (samples,) → (samples // hop, coefficients) float32; frame i is centred on i * hop."""
    n_fft, hop, mels = audio["n_fft"], audio["hop"], audio["mels"]
    count, half = len(wave) // hop, n_fft // 2
    if count == 0:
        return np.zeros((0, audio["coefficients"]), np.float32)
    flat = np.pad(wave.astype(np.float64), (0, max(0, half + 1 - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(flat, half, mode="reflect"), n_fft)[::hop][:count]
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n_fft) / n_fft)
    power = np.abs(np.fft.rfft(frames * window, axis=-1)) ** 2
    logs = np.log(np.maximum(power @ mel_filters(audio["rate"], n_fft, mels).T, audio["floor"]))
    k, n = np.arange(audio["coefficients"])[:, None], np.arange(mels)[None, :]
    cosines = np.sqrt(2.0 / mels) * np.cos(np.pi / mels * (n + 0.5) * k)
    cosines[0] /= np.sqrt(2.0)
    features: np.ndarray = (logs @ cosines.T).astype(np.float32)
    return features


def mel_filters(rate: int, n_fft: int, mels: int) -> np.ndarray:
    """Triangular filters, equally wide on the mel scale, peak 1: (mels, n_fft // 2 + 1)."""
    top = 2595.0 * np.log10(1.0 + rate / 2.0 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, mels + 2) / 2595.0) - 1.0)
    bins = np.linspace(0.0, rate / 2.0, n_fft // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(np.minimum(rising, falling), 0.0)
