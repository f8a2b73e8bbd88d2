"""Which frames of a clip a model looks at: pure functions on arrays, each from candidates in order to chosen indices in order.

Needs only numpy: bundles take this file with them as it is. A candidate is one frame of the clip, taken evenly. Most look at
small copies of them, so that a choice costs little beside decoding.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["SELECTORS", "content", "diversity", "motion", "sharpness", "uniform"]

Frames = NDArray[np.uint8]
Chosen = NDArray[np.int64]
SMALL = 32
"""Side of the copies in which motion, diversity and content are measured."""
SCENE = 0.25
"""Share of the colours that must change between two frames for a new scene to begin (total variation of histograms)."""


def uniform(frames: Frames, count: int) -> Chosen:
    """The middles of `count` equal parts.

    Args:
        frames: (n, H, W, 3) uint8 candidates, in order of time.
        count: Frames wanted.

    Returns:
        (min(n, count),) indices, ascending.
    """
    n = len(frames)
    return np.arange(n) if n <= count else _middles(0, n, count)


def motion(frames: Frames, count: int) -> Chosen:
    """Largest mean absolute difference from the frame before; the first frame has none. Of equals the earlier; see `uniform`."""
    grey = _small(frames).mean(axis=3)
    change = np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2))
    return _highest(np.concatenate([np.full(min(1, len(frames)), -1.0), change]), count)


def sharpness(frames: Frames, count: int) -> Chosen:
    """Largest variance of the 4-neighbour Laplacian of the grey picture (Pech-Pacheco et al., 2000); see `uniform`."""
    scores = np.empty(len(frames))
    for index, frame in enumerate(frames):
        grey = frame.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
        scores[index] = float((around - 4.0 * grey[1:-1, 1:-1]).var())
    return _highest(scores, count)


def diversity(frames: Frames, count: int) -> Chosen:
    """Farthest points: first the middle frame, then always that farthest from all chosen ones (Gonzalez, 1985); see `uniform`."""
    n = len(frames)
    if n <= count:
        return np.arange(n)
    points = _small(frames).reshape(n, -1)
    chosen = [n // 2]
    nearest = np.full(n, np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, ((points - points[chosen[-1]]) ** 2).mean(axis=1))
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
    return np.sort(np.array(chosen, np.int64))


def content(frames: Frames, count: int) -> Chosen:
    """Scenes begin where the histogram of colours jumps; each gives its middle, the longest are divided until there are `count`.

    Where there are more scenes than wanted, those that begin with the largest jumps are told apart. See `uniform`.
    """
    n = len(frames)
    if n <= count:
        return np.arange(n)
    jumps = 0.5 * np.abs(np.diff(_histograms(frames), axis=0)).sum(axis=1)
    cuts = [int(cut) + 1 for cut in np.argsort(-jumps, kind="stable")[: count - 1] if jumps[cut] >= SCENE]
    edges = [0, *sorted(cuts), n]
    spans = list(pairwise(edges))
    shares = [1] * len(spans)
    while sum(shares) < count:
        lengths = [(last - first) / share for (first, last), share in zip(spans, shares, strict=True)]
        shares[int(np.argmax(lengths))] += 1
    middles = [_middles(first, last, share) for (first, last), share in zip(spans, shares, strict=True)]
    return np.concatenate(middles)


SELECTORS: dict[str, Callable[[Frames, int], Chosen]] = {
    "uniform": uniform,
    "motion": motion,
    "sharpness": sharpness,
    "diversity": diversity,
    "content": content,
}
"""By the names of `reading.Select`."""


def _middles(first: int, last: int, parts: int) -> Chosen:
    """The middle of each of `parts` equal parts of first..last - 1."""
    return (first + (np.arange(parts) + 0.5) * (last - first) / parts).astype(np.int64)


def _highest(scores: NDArray[np.floating], count: int) -> Chosen:
    return np.sort(np.argsort(-scores, kind="stable")[:count]).astype(np.int64)


def _small(frames: Frames) -> NDArray[np.float32]:
    """(n, s, s, 3) means of blocks, s at most 32."""
    n, height, width = frames.shape[:3]
    rows, columns = (np.linspace(0, length, min(SMALL, length) + 1).astype(int) for length in (height, width))
    sums = np.add.reduceat(np.add.reduceat(frames, rows[:-1], axis=1, dtype=np.float32), columns[:-1], axis=2, dtype=np.float32)
    area = np.diff(rows)[:, None] * np.diff(columns)[None, :]
    means: NDArray[np.float32] = (sums / area[None, :, :, None]).astype(np.float32) if n else sums
    return means


def _histograms(frames: Frames) -> NDArray[np.float64]:
    """(n, 64) shares of 4 × 4 × 4 colours."""
    codes = (frames >> 6).astype(np.int64)
    codes = codes[..., 0] * 16 + codes[..., 1] * 4 + codes[..., 2]
    flat = codes.reshape(len(frames), -1)
    return np.stack([np.bincount(row, minlength=64) / max(1, flat.shape[1]) for row in flat])
