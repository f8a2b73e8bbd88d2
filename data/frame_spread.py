"""Where the frames lie that stand for a whole video: the middles of equal parts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from paretolens.data.preprocessing import ClipSettings

if TYPE_CHECKING:
    from paretolens.data.clips import OpenClip

__all__ = ["FrameSpread", "spread_over"]


@dataclass(frozen=True, kw_only=True)
class FrameSpread:
    """Frames at even distances."""

    first: float
    """When the first is shown, in seconds."""
    step: float
    """Seconds from one to the next."""
    count: int
    """How many; fewer may come of a damaged or shorter video."""

    def geometry(self, size: int) -> ClipSettings:
        """The window that `OpenClip.read` takes from `first` on, of `size` pixels."""
        return ClipSettings(frames=self.count, fps=1.0 / self.step, size=size)


def spread_over(clip: "OpenClip", wanted: int, *, fps: float) -> FrameSpread:
    """Frames over all of a video.

    Args:
        clip: The video.
        wanted: How many; fewer where it has fewer.
        fps: Frames a second where its length is not written in it.
    """
    count = min(wanted, clip.count or wanted)
    step = clip.seconds / count if clip.seconds > 0 else 1.0 / fps
    return FrameSpread(first=step / 2 if clip.seconds > step else 0.0, step=step, count=count)
