"""The front as one HTML page that needs no network: hover for a trial's figures and genome, zoom, hide what isn't wanted."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from paretolens.errors import StoreError
from paretolens.mlflow.chart import Colour, Panel, describe, headline, interval, panels
from paretolens.mlflow.front import Front
from paretolens.mlflow.plots import ASIDE, DOMINATED, JOINED

__all__ = ["draw_html", "front_page"]

_LOG_TICKS = [digit * 10.0**power for power in range(-6, 10) for digit in (1, 2, 5)]


def draw_html(front: Front, path: Path) -> Path:
    """Write the page, 5 MB with the plotting library inside.

    Raises:
        StoreError: the file can't be written.
    """
    config = {"displaylogo": False, "responsive": True, "scrollZoom": True}
    text = front_page(front).to_html(full_html=True, include_plotlyjs=True, config=config, default_height="92vh")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: can't be written ({error.strerror})") from error
    return path


def front_page(front: Front) -> Any:
    """A plotly figure."""
    from plotly.subplots import make_subplots

    found = panels(front)
    figure = make_subplots(rows=1, cols=len(found), horizontal_spacing=0.08)
    for column, panel in enumerate(found, start=1):
        _add_panel(figure, panel, front, column)
    title, subtitle = headline(front)
    figure.update_layout(
        template="plotly_white",
        title={"text": f"<b>{_escape(title)}</b><br><sup>{_escape(subtitle)}</sup>", "x": 0.01, "xanchor": "left"},
        font={"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 14, "color": Colour.INK},
        legend={"orientation": "h", "y": -0.14, "x": 0.0},
        hoverlabel={"align": "left", "bgcolor": "white", "font": {"size": 13}},
        margin={"l": 60, "r": 30, "t": 90, "b": 60},
        hovermode="closest",
    )
    return figure


def _add_panel(figure: Any, panel: Panel, front: Front, column: int) -> None:
    import plotly.graph_objects as go

    place = {"row": 1, "col": column}
    style = {"x": panel.joined[panel.x], "y": panel.joined[panel.y], "mode": "lines", "hoverinfo": "skip", "showlegend": False}
    figure.add_trace(go.Scatter(**style, line={"color": Colour.FRONT, "width": 2, "shape": "hv"}, opacity=0.6), **place)
    hollow = {"color": "white", "size": 8, "line": {"color": Colour.FRONT, "width": 1.6}}
    filled = {"color": Colour.FRONT, "size": 11, "line": {"color": "white", "width": 1}}
    grey = {"color": Colour.DOMINATED, "size": 6, "opacity": 0.4}
    _add_trials(figure, panel, front, panel.dominated, name=DOMINATED, marker=grey, place=place)
    _add_trials(figure, panel, front, panel.aside, name=ASIDE, marker=hollow, place=place, bars=0.3)
    _add_trials(figure, panel, front, panel.joined, name=JOINED, marker=filled, place=place, bars=0.55)
    if front.knee is not None:
        mark = {"color": Colour.KNEE, "size": 17, "symbol": "diamond", "line": {"color": "white", "width": 1.5}}
        _add_trials(figure, panel, front, front.knee.to_frame().T, name="knee", marker=mark, place=place)
    _add_teacher(figure, panel, front, place)
    for rule in panel.rules:
        note = {"text": rule.label, "font": {"color": rule.colour, "size": 12}}
        line = {"line_color": rule.colour, "line_dash": rule.dash, "line_width": 2}
        figure.add_hline(y=rule.value, annotation=note, annotation_position="top right", **line, **place)
    ticks = {"type": "log", "tickmode": "array", "tickvals": _LOG_TICKS, "ticktext": [f"{v:g}" for v in _LOG_TICKS]}
    figure.update_xaxes(title_text=panel.x_label, **(ticks if panel.log_x else {}), **place)
    figure.update_yaxes(title_text=panel.y_label.replace(" (%)", ""), tickformat=".0%" if panel.percent else None, **place)


def _add_trials(
    figure: Any,
    panel: Panel,
    front: Front,
    trials: pd.DataFrame,
    *,
    name: str,
    marker: dict[str, Any],
    place: dict[str, int],
    bars: float = 0.0,
) -> None:
    import plotly.graph_objects as go

    lengths = interval(trials, panel.y) if bars else None
    red, green, blue = (int(Colour.FRONT[i : i + 2], 16) for i in (1, 3, 5))
    ends = {}
    if lengths is not None:
        colour = f"rgba({red},{green},{blue},{bars})"
        ends = {"error_y": {"array": lengths[1], "arrayminus": lengths[0], "color": colour, "thickness": 1.2, "width": 3}}
    figure.add_trace(
        go.Scatter(
            x=trials[panel.x],
            y=trials[panel.y],
            mode="markers",
            marker=marker,
            name=name,
            legendgroup=name,
            showlegend=place["col"] == 1,
            hovertext=[_hover(front, row) for row in trials.to_dict("records")],
            hoverinfo="text",
            **ends,
        ),
        **place,
    )


def _add_teacher(figure: Any, panel: Panel, front: Front, place: dict[str, int]) -> None:
    import plotly.graph_objects as go

    where = panel.teacher(front)
    if where is None:
        return
    marker = {"color": Colour.TEACHER, "size": 18, "symbol": "star", "line": {"color": "white", "width": 1}}
    style = {"name": "teacher", "legendgroup": "teacher", "showlegend": place["col"] == 1, "mode": "markers"}
    figure.add_trace(
        go.Scatter(x=[where[0]], y=[where[1]], marker=marker, hovertext="teacher", hoverinfo="text", **style), **place
    )


def _hover(front: Front, row: Mapping[Any, Any]) -> str:
    head, *rest = describe(front, row, newline="\n").split("\n")
    return "<br>".join([f"<b>{_escape(head)}</b>", *map(_escape, rest)])


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
