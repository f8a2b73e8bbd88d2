"""Which windows of a video become samples, and what is manipulated within them."""

from dataclasses import dataclass

import numpy as np

from paretolens.data.pipeline.settings import FolderSettings
from paretolens.data.readers.families import order_of
from paretolens.data.readers.listing import REAL, Item

__all__ = ["Truth", "picture_truth", "place_windows", "window_truth"]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of one sample."""

    fake: bool
    """Whether anything within the window is manipulated."""
    kind: str
    """`real` or the kind of manipulation."""
    period: tuple[float, float] = (0.0, 0.0)
    """From the first to the last manipulated moment, in seconds from the window's start; (0, 0) = none, or unknown."""
    frames: tuple[bool, ...] = ()
    """Of every frame, whether its picture is manipulated; all False where nobody knows."""


def place_windows(item: Item, seconds: float, settings: FolderSettings) -> list[float]:
    """Where the windows of a video start, ascending.

    One window of a longer video lies at a place that is drawn from the file's name, several lie at even distances. Where the
    manipulated periods of a fake are known, one window holds the middle of one.

    Args:
        item: The video.
        seconds: Its length; 0 = unknown.
        settings: Length and number of windows.
    """
    free = max(0.0, seconds - settings.seconds)
    chance = int(order_of(item.file, settings.seed), 16) / 2.0**64
    if free <= 0.0:
        return [0.0]
    starts = [chance * free] if settings.windows == 1 else [float(start) for start in np.linspace(0.0, free, settings.windows)]
    if item.fake and item.periods and not any(window_truth(item, start, settings).fake for start in starts):
        first, last = item.periods[int(chance * len(item.periods))]
        wanted = (first + last) / 2 - settings.seconds * (0.25 + 0.5 * chance)
        nearest = min(range(len(starts)), key=lambda index: abs(starts[index] - wanted))
        starts[nearest] = min(max(0.0, wanted), free)
    return sorted(starts)


def window_truth(item: Item, start: float, settings: FolderSettings, times: "np.ndarray | None" = None) -> Truth:
    """What is manipulated in a window.

    A window that holds less than one frame's duration of every manipulated period is real.

    Args:
        item: The video.
        start: Where the window starts, in seconds.
        settings: Its length.
        times: (T,) seconds from the start at which its frames are shown; None = no frames.
    """
    if not item.fake:
        return Truth(fake=False, kind=REAL, frames=(False,) * _count(times))
    whole = ((0.0, settings.seconds),)
    inside = [(max(0.0, first - start), min(settings.seconds, last - start)) for first, last in item.periods] or list(whole)
    least = 1.0 / settings.fps
    inside = [(a, b) for a, b in inside if b - a >= min(least, settings.seconds) - 1e-9 or _short(item, b - a, least)]
    if not inside:
        return Truth(fake=False, kind=REAL, frames=(False,) * _count(times))
    seen = item.fake_picture is True
    frames = () if times is None else tuple(seen and any(a <= time < b for a, b in inside) for time in map(float, times))
    known = item.fake_picture is not None or item.fake_sound is not None or bool(item.periods)
    hull = (min(a for a, _ in inside), max(b for _, b in inside)) if known else (0.0, 0.0)
    return Truth(fake=True, kind=item.kind, period=hull, frames=frames)


def picture_truth(item: Item, time: float | None) -> Truth:
    """What is manipulated in a picture, or in the frame of a video that is shown at `time`: a fake sound can't be seen."""
    inside = time is None or not item.periods or any(first <= time < last for first, last in item.periods)
    fake = item.fake and item.fake_picture is not False and inside
    return Truth(fake=fake, kind=item.kind if fake else REAL, frames=(fake and item.fake_picture is True,))


def _count(times: "np.ndarray | None") -> int:
    return 0 if times is None else len(times)


def _short(item: Item, length: float, least: float) -> bool:
    """Whether all of a period that is shorter than a frame lies within."""
    return any(last - first < least and abs(length - (last - first)) < 1e-6 for first, last in item.periods)
