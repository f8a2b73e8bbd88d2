"""Sound: time × coefficient heat maps of input, teacher, student and masks beside each other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretolens.evaluators.overlays.colours import BOTH, PALE, STUDENT, TEACHER
from paretolens.evaluators.overlays.panel import Panel
from paretolens.evaluators.overlays.part import WIDTH_INCHES, Part, caption, colour_bar

__all__ = ["SOUND_INCHES", "draw_sound"]

SOUND_INCHES = 2.3


def draw_sound(part: Part, panel: Panel, pool: int) -> None:
    """Input, teacher, student and masks as time × coefficient maps beside each other."""
    from matplotlib.colors import ListedColormap

    length, coefficients = panel.image.shape
    kept = int((~panel.ignored).sum())
    cells = panel.ignored[::pool]
    height = part.height - 0.98
    axes = [part.axes(0.5 + 1.99 * column, 0.45, 1.87, height) for column in range(4)]
    shown = np.where(panel.ignored[:, None], np.nan, panel.image)
    limit = float(np.nanpercentile(np.abs(shown), 99)) or 1.0
    categories = panel.teacher_mask + 2 * panel.student_mask.astype(int)
    blank = np.array([1.0, np.nan])[cells.astype(int)][:, None]
    wheel = ListedColormap(["0.25", TEACHER, STUDENT, BOTH])
    options: dict[str, Any] = {"origin": "lower", "aspect": "auto", "interpolation": "none"}
    pale = {} if panel.scored else {"alpha": PALE}
    across = (0, len(cells) * pool, -0.5, coefficients - 0.5)
    maps: tuple[tuple[NDArray[Any], dict[str, Any], str], ...] = (
        (shown, {"cmap": "PuOr_r", "vmin": -limit, "vmax": limit, "extent": (0, length, -0.5, coefficients - 0.5)}, "input"),
        (panel.teacher * blank, {"cmap": "inferno", "vmin": 0, "vmax": 1, "extent": across, **pale}, "teacher"),
        (panel.student * blank, {"cmap": "inferno", "vmin": 0, "vmax": 1, "extent": across, **pale}, "student"),
        (categories * blank, {"cmap": wheel, "vmin": 0, "vmax": 3, "extent": across, **pale}, "top-share masks"),
    )
    for place, (values, style, label) in zip(axes, maps, strict=True):
        place.set_facecolor("0.88")
        place.imshow(values.T, **options, **style)
        place.set_xlim(0, kept)
        place.set_xticks(np.arange(0, kept - 1, 20 if kept <= 100 else 100))  # the last frame's number would touch its neighbour
        place.set_title(label, fontsize=9)
        place.tick_params(labelsize=7.5, length=2)
        place.set_xlabel("audio frame", fontsize=8)
    axes[0].set_yticks(np.arange(0, coefficients, 5))
    for place in axes[1:]:
        place.set_yticks([])
    axes[0].set_ylabel("coefficient", fontsize=8)
    colour_bar(part.axes(WIDTH_INCHES - 0.68, 0.45, 0.11, height))
    caption(part, panel)
