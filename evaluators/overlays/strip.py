"""Video and images: a strip of frames, rows input, teacher, student, masks and, where it is known, the true region."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paretolens.evaluators.overlays.colours import BOTH, COLUMNS, GAP, PALE, STUDENT, TEACHER, TILE, TRUTH, Floats
from paretolens.evaluators.overlays.panel import Panel
from paretolens.evaluators.overlays.part import WIDTH_INCHES, Part, bare, caption, colour_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_strip", "heat", "masks", "mosaic", "outline", "picture", "resized", "strip_frames", "strip_inches", "true_mask"]

ROW_INCHES, EDGES_INCHES = 0.95, 0.55


def strip_inches(panel: Panel) -> float:
    """How high a strip is: a row more where the true region is known."""
    return EDGES_INCHES + ROW_INCHES * (4 if panel.region is None else 5)


def draw_strip(part: Part, panel: Panel, _pool: int) -> None:
    """Rows input, teacher, student and masks of some frames, as one picture."""
    frames = strip_frames(panel.ignored)
    blank = [np.full((TILE, TILE, 3), 0.93)] * (min(COLUMNS, len(panel.ignored)) - len(frames))
    pictures = [picture(panel.image[frame]) for frame in frames]
    grey = [np.repeat(p.mean(axis=2, keepdims=True), 3, axis=2) for p in pictures]
    strength = 1.0 if panel.scored else PALE
    rows = {
        "input": pictures,
        "teacher": [heat(g, panel.teacher[frame], strength) for g, frame in zip(grey, frames, strict=True)],
        "student": [heat(g, panel.student[frame], strength) for g, frame in zip(grey, frames, strict=True)],
        "top-share\nmasks": [
            masks(g, panel.teacher_mask[f], panel.student_mask[f], strength) for g, f in zip(grey, frames, strict=True)
        ],
    }
    if panel.region is not None:
        rows["true\nmask"] = [true_mask(g, panel.region[frame]) for g, frame in zip(grey, frames, strict=True)]
    strip = mosaic([[*row, *blank] for row in rows.values()])
    height = part.height - EDGES_INCHES
    axes = part.axes(0.85, 0.27, min(WIDTH_INCHES - 1.65, height * strip.shape[1] / strip.shape[0]), height)
    axes.imshow(strip, interpolation="none", aspect="auto")
    step = TILE + GAP
    axes.set_yticks([step * i + TILE / 2 for i in range(len(rows))], list(rows), fontsize=9)
    names = [f"frame {frame}" for frame in frames] + ["padding"] * len(blank)
    axes.set_xticks([step * i + TILE / 2 for i in range(len(names))], names, fontsize=8)
    bare(axes)
    if panel.region is not None:
        for row in (0, 3):
            outline(axes, [panel.region[frame] for frame in frames], row * step)
    colour_bar(part.axes(WIDTH_INCHES - 0.68, 0.27, 0.11, height))
    caption(part, panel)


def strip_frames(ignored: NDArray[np.bool_]) -> list[int]:
    """At most COLUMNS frames that are not padding, evenly spaced."""
    seen = np.flatnonzero(~ignored)
    return [int(frame) for frame in seen[np.linspace(0, len(seen) - 1, min(COLUMNS, len(seen))).round().astype(int)]]


def picture(pixels: Floats, tile: int = TILE) -> Floats:
    """(3, H, W) → (tile, tile, 3), clipped to 0..1."""
    shown: Floats = np.clip(resized(pixels.transpose(1, 2, 0), tile), 0.0, 1.0)
    return shown


def resized(image: NDArray[Any], tile: int = TILE) -> NDArray[Any]:
    """(h, w, ...) → (tile, tile, ...) by the nearest cell, so that the grid stays visible."""
    rows = (np.arange(tile) + 0.5) * image.shape[0] / tile
    columns = (np.arange(tile) + 0.5) * image.shape[1] / tile
    chosen: NDArray[Any] = image[rows.astype(int)][:, columns.astype(int)]
    return chosen


def heat(grey: Floats, values: Floats, strength: float = 1.0) -> Floats:
    """Evidence over a grey picture: the more evidence, the more colour."""
    from matplotlib import colormaps

    level = resized(values, len(grey))[..., None]
    colour = colormaps["inferno"](level[..., 0])[..., :3]
    opacity = strength * (0.35 + 0.55 * level)
    blended: Floats = (1 - opacity) * 0.8 * grey + opacity * colour
    return blended


def masks(grey: Floats, teacher: NDArray[np.bool_], student: NDArray[np.bool_], strength: float = 1.0) -> Floats:
    """Whose top share a cell is in."""
    from matplotlib.colors import to_rgb

    drawn = 0.45 * grey
    mine, theirs = resized(student, len(grey))[..., None], resized(teacher, len(grey))[..., None]
    for chosen, colour in ((theirs & ~mine, TEACHER), (mine & ~theirs, STUDENT), (mine & theirs, BOTH)):
        drawn = np.where(chosen, (1 - 0.75 * strength) * grey + 0.75 * strength * np.array(to_rgb(colour)), drawn)
    return drawn


def true_mask(grey: Floats, region: NDArray[np.bool_]) -> Floats:
    """Where the frame was manipulated."""
    from matplotlib.colors import to_rgb

    marked: Floats = np.where(resized(region, len(grey))[..., None], 0.25 * grey + 0.75 * np.array(to_rgb(TRUTH)), 0.45 * grey)
    return marked


def mosaic(rows: Sequence[Sequence[Floats]]) -> Floats:
    """Tiles of one size with gaps between them, (height, width, 3)."""
    tile = len(rows[0][0])
    step = tile + GAP
    canvas = np.ones((step * len(rows) - GAP, step * max(len(row) for row in rows) - GAP, 3))
    for i, row in enumerate(rows):
        for j, each in enumerate(row):
            canvas[i * step : i * step + len(each), j * step : j * step + len(each)] = each
    return canvas


def outline(axes: "Axes", regions: Sequence[NDArray[np.bool_]], top: int, tile: int = TILE) -> None:
    """The border of the true region on each frame of a row of the strip."""
    from matplotlib.collections import LineCollection

    lines: list[Floats] = []
    for column, region in enumerate(regions):
        scale = np.array([tile / region.shape[1], tile / region.shape[0]])
        shift = np.array([column * (tile + GAP) - 0.5, top - 0.5])
        padded = np.pad(region, 1)
        for y, x in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]):
            lines.append(np.array([[x, y], [x, y + 1]]) * scale + shift)
        for y, x in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]):
            lines.append(np.array([[x, y], [x + 1, y]]) * scale + shift)
    axes.add_collection(LineCollection(lines, colors="black", linewidths=2.6, capstyle="projecting"), autolim=False)
    axes.add_collection(LineCollection(lines, colors=TRUTH, linewidths=1.3, capstyle="projecting"), autolim=False)
