"""A comparison of searches as a picture (PNG)."""

from pathlib import Path
from typing import Any

from paretolens.mlflow.chart import axes_of, axis_label, is_share
from paretolens.mlflow.compare import Comparison
from paretolens.mlflow.compare_curves import COLOURS, Curve, compared_rules, comparison_headline, curves_of, is_log
from paretolens.mlflow.objectives import Direction
from paretolens.mlflow.plots import draw_rules, style_axes, write_picture

__all__ = ["comparison_png"]

_MARKS = ("o", "s", "^", "D", "v", "P", "X")


def comparison_png(found: Comparison, path: Path) -> Path:
    """Write the picture.

    Raises:
        StoreError: the file can't be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    pairs = axes_of(found.objectives)
    engine = ConstrainedLayoutEngine(rect=(0.0, 0.07, 1.0, 0.8), wspace=0.06)
    figure = Figure(figsize=(6.4 * max(len(pairs), 2) + 0.4, 5.6), layout=engine)
    title, subtitle = comparison_headline(found)
    figure.text(0.011, 0.938, title, ha="left", fontsize=16, fontweight="bold", color="#222222")
    figure.text(0.011, 0.893, subtitle, ha="left", fontsize=10.5, color="#555555")
    all_axes = figure.subplots(1, len(pairs), squeeze=False)[0]
    for axes, (x, y) in zip(all_axes, pairs, strict=True):
        log = is_log(found, x)
        style_axes(axes, x_label=axis_label(x, log=log), y_label=axis_label(y), log_x=log, percent=is_share(y))
        for number, curve in enumerate(curves_of(found, x, y)):
            _draw(axes, curve, (x, y), number, found.objectives[x])
        draw_rules(axes, compared_rules(found, y), compared_rules(found, x) if x != y else ())
    handles = dict(zip(*reversed(all_axes[0].get_legend_handles_labels()), strict=True))
    figure.legend(
        handles.values(), handles.keys(), loc="lower left", bbox_to_anchor=(0.005, 0.0), ncols=len(handles), frameon=False
    )
    return write_picture(figure, path)


def _draw(axes: Any, curve: Curve, names: tuple[str, str], number: int, direction: Direction) -> None:
    colour, where = COLOURS[number % len(COLOURS)], "post" if direction == "min" else "pre"
    axes.step(*curve.middle.T, where=where, color=colour, lw=2.0, zorder=4)
    for end in curve.ends:
        axes.step(*end.T, where=where, color=colour, lw=0.9, ls="--", alpha=0.8, zorder=3)
    style = {"c": colour, "marker": _MARKS[number % len(_MARKS)], "edgecolors": "white", "linewidths": 0.8}
    x, y = (curve.members[name] for name in names)
    axes.scatter(x, y, s=52, zorder=5, label=curve.name, **style)
