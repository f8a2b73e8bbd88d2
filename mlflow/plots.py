"""The front as a picture (PNG): every objective against latency, side by side."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from paretolens.exporters.files import write_atomic
from paretolens.mlflow.chart import Colour, Panel, Rule, format_value, headline, interval, panels, trial_label
from paretolens.mlflow.front import Front
from paretolens.mlflow.labels import Label, place_labels

__all__ = ["draw_png", "draw_rules", "front_figure", "png_bytes", "style_axes", "write_picture"]

JOINED, ASIDE, DOMINATED = "on the front", "on the front by another objective", "dominated"
_DASHES = {"dash": "--", "dot": ":"}
_FEW = 14
_CROWD = 40


def draw_png(front: Front, path: Path, *, dpi: int = 160) -> Path:
    """Write the picture of a front.

    Raises:
        StoreError: the file can't be written.
    """
    return write_picture(front_figure(front), path, dpi=dpi)


def write_picture(figure: Any, path: Path, *, dpi: int = 160) -> Path:
    """Write a matplotlib figure as PNG.

    Raises:
        StoreError: the file can't be written.
    """
    write_atomic(path, png_bytes(figure, dpi=dpi))
    return path


def png_bytes(figure: Any, *, dpi: int = 160) -> bytes:
    """A matplotlib figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, dpi=dpi, format="png", facecolor="white")
    return content.getvalue()


def front_figure(front: Front) -> Any:
    """A matplotlib figure without a window behind it."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    found = panels(front)
    engine = ConstrainedLayoutEngine(rect=(0.0, 0.065, 1.0, 0.8), wspace=0.06)
    figure = Figure(figsize=(6.4 * max(len(found), 2) + 0.4, 5.6), layout=engine)
    title, subtitle = headline(front)
    figure.text(0.011, 0.938, title, ha="left", fontsize=16, fontweight="bold", color=Colour.INK)
    figure.text(0.011, 0.893, subtitle, ha="left", fontsize=10.5, color="#555555")
    all_axes = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, panel in zip(all_axes, found, strict=True):
        _draw_panel(axes, panel, front)
    _legend(figure, all_axes)
    figure.draw_without_rendering()  # only now is it known where each point lies
    for axes, panel in zip(all_axes, found, strict=True):
        _label_members(axes, panel, front)
    return figure


_STEPS: Mapping[str, Literal["post", "pre"]] = {"min": "post", "max": "pre"}
"""Between two members, what is reached is the one no worse in x: the left one where less is better, else the right one."""


def _draw_panel(axes: Any, panel: Panel, front: Front) -> None:
    style_axes(axes, x_label=panel.x_label, y_label=panel.y_label, log_x=panel.log_x, percent=panel.percent)
    x, y, blue = panel.x, panel.y, Colour.FRONT
    _draw_marks(axes, panel, front)  # the teacher before intervals: those of a single member span next to no width, and warn
    axes.scatter(panel.dominated[x], panel.dominated[y], s=20, c=Colour.DOMINATED, alpha=0.35, lw=0, label=DOMINATED, zorder=2)
    axes.step(panel.joined[x], panel.joined[y], where=_STEPS[front.objectives[x]], color=blue, lw=1.5, alpha=0.6, zorder=3)
    crowded = len(front.members) > _CROWD
    for members, alpha in ((panel.joined, 0.5), (panel.aside, 0.0 if crowded else 0.28)):
        bars = interval(members, y)
        if bars is not None and alpha:
            style = {"fmt": "none", "ecolor": blue, "elinewidth": 1.0, "capsize": 2.5, "alpha": alpha, "zorder": 3}
            axes.errorbar(members[x], members[y], yerr=np.stack(bars), **style)
    hollow = {"facecolors": "white", "edgecolors": blue, "linewidths": 1.2, "alpha": 0.75, "zorder": 4, "label": ASIDE}
    axes.scatter(panel.aside[x], panel.aside[y], s=30, **hollow)
    filled = {"c": blue, "edgecolors": "white", "linewidths": 0.9, "zorder": 5, "label": JOINED}
    axes.scatter(panel.joined[x], panel.joined[y], s=58, **filled)
    draw_rules(axes, panel.rules, panel.x_rules)


def _draw_marks(axes: Any, panel: Panel, front: Front) -> None:
    knee, teacher = front.knee, panel.teacher(front)
    if knee is not None:
        style = {"s": 150, "marker": "D", "c": Colour.KNEE, "edgecolors": "white", "linewidths": 1.2, "label": "knee"}
        axes.scatter([knee[panel.x]], [knee[panel.y]], zorder=7, **style)
    if teacher is not None:
        style = {"s": 260, "marker": "*", "c": Colour.TEACHER, "edgecolors": "white", "linewidths": 1.0, "label": "teacher"}
        axes.scatter(*teacher, zorder=6, **style)


def draw_rules(axes: Any, y_rules: Sequence[Rule], x_rules: Sequence[Rule]) -> None:
    """Lines and bands across the axes, labelled at their ends: those of y from side to side, those of x from bottom to top."""
    for rule in y_rules:
        axes.axhspan(rule.low, rule.high, color=rule.colour, alpha=0.12, lw=0, zorder=0)
        axes.axhline(rule.value, color=rule.colour, ls=_DASHES[rule.dash], lw=1.6, zorder=1)
        place = {"xy": (0.99, rule.value), "xycoords": ("axes fraction", "data"), "xytext": (0, 3)}
        style = {"ha": "right", "va": "bottom", "fontsize": 8.5, "color": rule.colour, "zorder": 8}
        axes.annotate(rule.label, textcoords="offset points", **place, **style)
    for rule in x_rules:
        axes.axvspan(rule.low, rule.high, color=rule.colour, alpha=0.12, lw=0, zorder=0)
        axes.axvline(rule.value, color=rule.colour, ls=_DASHES[rule.dash], lw=1.6, zorder=1)
        place = {"xy": (rule.value, 0.02), "xycoords": ("data", "axes fraction"), "xytext": (3, 0)}
        style = {"ha": "left", "va": "bottom", "fontsize": 8.5, "color": rule.colour, "zorder": 8, "rotation": 90}
        axes.annotate(rule.label, textcoords="offset points", **place, **style)


def style_axes(axes: Any, *, x_label: str, y_label: str, log_x: bool, percent: bool) -> None:
    """The look that every panel shares: labels, a log scale with round ticks, shares in per cent, a quiet grid."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xlabel(x_label, fontsize=11, color=Colour.INK)
    axes.set_ylabel(y_label, fontsize=11, color=Colour.INK)
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=20))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    if percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))
    axes.grid(True, color=Colour.GRID, lw=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.margins(x=0.09, y=0.09)
    axes.tick_params(colors="#444444", labelsize=9.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")


def _label_members(axes: Any, panel: Panel, front: Front) -> None:
    """The trial's name at every member of a small front, else at the knee and the ends only; the knee says its value too."""
    members, knee = front.members, front.knee
    if len(members) > _FEW:
        ends = members.loc[[members[panel.x].idxmin(), members[panel.y].idxmax()]]
        members = pd.concat([ends, members[members["knee"].astype(bool)]]).drop_duplicates("trial")
    labels: list[Label] = []
    for row in members.to_dict("records"):
        is_knee = knee is not None and row["trial"] == knee["trial"]
        name = trial_label(row["trial"])
        text = f"{name}: {format_value(panel.y, row[panel.y])}" if is_knee else name
        labels.append(Label(x=float(row[panel.x]), y=float(row[panel.y]), text=text, strong=is_knee))
    place_labels(axes, sorted(labels, key=lambda label: not label.strong), front.trials[[panel.x, panel.y]].to_numpy(dtype=float))


def _legend(figure: Any, all_axes: Any) -> None:
    handles: dict[str, Any] = {}
    for axes in all_axes:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = [name for name in (JOINED, ASIDE, "knee", DOMINATED, "teacher") if name in handles]
    figure.legend(
        [handles[name] for name in order],
        order,
        loc="lower left",
        bbox_to_anchor=(0.005, 0.0),
        ncols=len(order),
        frameon=False,
        fontsize=10,
    )
