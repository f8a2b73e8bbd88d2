"""Labels beside the points of a scatter, where they cover least."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paretolens.mlflow.chart import Colour
from paretolens.mlflow.pareto import Floats

__all__ = ["Label", "place_labels"]

Box = tuple[float, float, float, float]

_NEAR = ((8, 7), (-8, 7), (8, -13), (-8, -13), (0, 13), (0, -20), (14, -3), (-14, -3))
_OFFSETS = (*_NEAR, (16, 16), (-16, 16), (16, -24), (-16, -24))


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text at a point, in data coordinates."""

    x: float
    y: float
    text: str
    strong: bool

    @property
    def size(self) -> float:
        """Font size in points."""
        return 10.5 if self.strong else 8.5


def place_labels(axes: Any, labels: Sequence[Label], points: Floats) -> None:
    """Write each label, the important ones first, at the offset that covers the fewest points (n, 2) and earlier labels.

    The figure's layout must be done.
    """
    crowd = axes.transData.transform(points) if len(points) else points
    taken: list[Box] = []
    for label in labels:
        candidates = [_box(axes, label, offset) for offset in _OFFSETS]
        costs = [0.01 * order + _covered(axes, box, crowd, taken) for order, box in enumerate(candidates)]
        best = costs.index(min(costs))
        taken.append(candidates[best])
        _write(axes, label, _OFFSETS[best])


def _box(axes: Any, label: Label, offset: tuple[int, int]) -> Box:
    """(left, bottom, right, top) in pixels of a label at an offset in points."""
    scale = axes.figure.dpi / 72
    width, height = len(label.text) * label.size * 0.58 * scale, label.size * 1.15 * scale
    x, y = axes.transData.transform((label.x, label.y))
    dx, dy = offset
    left = x + dx * scale - (width if dx < 0 else width / 2 if dx == 0 else 0.0)
    bottom = y + dy * scale
    return (left, bottom, left + width, bottom + height)


def _covered(axes: Any, box: Box, points: Floats, taken: Sequence[Box]) -> float:
    left, bottom, right, top = box
    inside = (points[:, 0] > left - 3) & (points[:, 0] < right + 3) & (points[:, 1] > bottom - 3) & (points[:, 1] < top + 3)
    crossed = sum(left < other[2] and right > other[0] and bottom < other[3] and top > other[1] for other in taken)
    frame = axes.bbox
    outside = bool(left < frame.x0 or right > frame.x1 or bottom < frame.y0 or top > frame.y1)
    return float(inside.sum()) + 3.0 * crossed + 5.0 * outside


def _write(axes: Any, label: Label, offset: tuple[int, int]) -> None:
    axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=offset,
        textcoords="offset points",
        ha="right" if offset[0] < 0 else "center" if offset[0] == 0 else "left",
        va="bottom",
        fontsize=label.size,
        fontweight="bold" if label.strong else "normal",
        color=Colour.KNEE if label.strong else Colour.INK,
        zorder=9,
    )
