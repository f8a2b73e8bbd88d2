"""A single picture: input, teacher, student, masks and, where it is known, the true region side by side."""

import numpy as np

from paretolens.evaluators.overlays.colours import GAP, PALE
from paretolens.evaluators.overlays.panel import Panel
from paretolens.evaluators.overlays.part import WIDTH_INCHES, Part, bare, caption, colour_bar
from paretolens.evaluators.overlays.strip import heat, masks, mosaic, outline, picture, true_mask

__all__ = ["STILL_INCHES", "draw_still"]

STILL_INCHES = 2.2
EDGE_INCHES = 0.55
SIDE = 192
"""Side of a drawn picture in pixels."""


def draw_still(part: Part, panel: Panel, _pool: int) -> None:
    """Input, teacher, student, masks and truth of one picture in a row."""
    seen = picture(panel.image[0], SIDE)
    grey = np.repeat(seen.mean(axis=2, keepdims=True), 3, axis=2)
    strength = 1.0 if panel.scored else PALE
    columns = {
        "input": seen,
        "teacher": heat(grey, panel.teacher[0], strength),
        "student": heat(grey, panel.student[0], strength),
        "top-share masks": masks(grey, panel.teacher_mask[0], panel.student_mask[0], strength),
    }
    if panel.region is not None:
        columns["true mask"] = true_mask(grey, panel.region[0])
    strip = mosaic([list(columns.values())])
    height = part.height - EDGE_INCHES
    width = min(WIDTH_INCHES - 1.0, height * strip.shape[1] / strip.shape[0])
    height = width * strip.shape[0] / strip.shape[1]
    axes = part.axes(0.12, 0.27, width, height)
    axes.imshow(strip, interpolation="none", aspect="auto")
    step = SIDE + GAP
    axes.set_xticks([step * i + SIDE / 2 for i in range(len(columns))], list(columns), fontsize=9)
    axes.set_yticks([])
    bare(axes)
    if panel.region is not None:
        empty = np.zeros_like(panel.region[0])
        outline(axes, [panel.region[0], empty, empty, panel.region[0]], 0, SIDE)
    colour_bar(part.axes(WIDTH_INCHES - 0.68, 0.27, 0.11, height))
    caption(part, panel)
