"""A stretch of the figure, and what every stretch has: a caption and a colour bar."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paretolens.evaluators.overlays.colours import BOTH, STUDENT, TEACHER, TRUTH
from paretolens.evaluators.overlays.panel import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["WIDTH_INCHES", "Part", "bare", "caption", "colour_bar"]

WIDTH_INCHES = 9.2


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of the figure over its whole width; places are in inches, so that nothing has to be laid out twice."""

    figure: "Figure"
    """The figure."""
    bottom: float
    """Where the stretch begins, from the bottom."""
    height: float
    """How high it is."""

    def axes(self, left: float, bottom: float, width: float, height: float) -> "Axes":
        """New axes, measured from the stretch's own corner."""
        across, up = self.figure.get_size_inches()
        place: Axes = self.figure.add_axes((left / across, (self.bottom + bottom) / up, width / across, height / up))
        return place

    def above(self) -> float:
        """Middle of the caption line as a fraction of the figure."""
        line: float = (self.bottom + self.height - 0.13) / self.figure.get_figheight()
        return line


def bare(axes: "Axes") -> None:
    """No frame, no tick marks."""
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def colour_bar(axes: "Axes") -> None:
    """The scale that teacher and student share."""
    from matplotlib import colormaps

    axes.imshow(np.linspace(0, 1, 128)[:, None], cmap=colormaps["inferno"], aspect="auto", origin="lower", extent=(0, 1, 0, 1))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=7.5)
    axes.tick_params(length=2)
    axes.set_ylabel("evidence / 99th pct.", fontsize=7.5)


def caption(part: Part, panel: Panel) -> None:
    """A line above a modality: its name and scores on the left, the colours of the masks on the right."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.patheffects import withStroke

    part.figure.text(0.012, part.above(), panel.caption, fontsize=9.5, ha="left", va="center")
    names = {"teacher only": TEACHER, "student only": STUDENT, "both": BOTH}
    handles: list[Any] = [Patch(facecolor=colour, edgecolor="0.3", label=name) for name, colour in names.items()]
    if panel.region is not None:
        outline_colour = [withStroke(linewidth=3.2, foreground="black")]
        handles.append(Line2D([], [], color=TRUTH, linewidth=1.6, path_effects=outline_colour, label="truly manipulated"))
    where: dict[str, Any] = {"loc": "center right", "bbox_to_anchor": (0.995, part.above()), "borderaxespad": 0.0}
    part.figure.legend(handles=handles, ncol=4, fontsize=8, frameon=False, columnspacing=1.2, **where)
