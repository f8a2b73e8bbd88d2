"""A comparison of searches as a page: hover for a trial's figures, zoom, hide a side."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paretolens.exporters.files import write_atomic
from paretolens.mlflow.chart import Rule, axes_of, axis_label, format_value, is_share, trial_label
from paretolens.mlflow.compare import Comparison
from paretolens.mlflow.compare_curves import COLOURS, Curve, compared_rules, comparison_headline, curves_of, is_log

__all__ = ["comparison_html"]

_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
_TICKS = [digit * 10.0**power for power in range(-6, 10) for digit in (1, 2, 5)]
_FONT = {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 14, "color": "#222222"}


def comparison_html(found: Comparison, path: Path) -> Path:
    """Write the page, which needs no network.

    Raises:
        StoreError: the file can't be written.
    """
    from plotly.subplots import make_subplots

    pairs = axes_of(found.objectives)
    figure = make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.08)
    for column, (x, y) in enumerate(pairs, start=1):
        place = {"row": 1, "col": column}
        for number, curve in enumerate(curves_of(found, x, y)):
            for trace in _traces(found, curve, x, y, number, first=column == 1):
                figure.add_trace(trace, **place)
        _add_rules(figure, compared_rules(found, y), compared_rules(found, x) if x != y else (), place)
        log = is_log(found, x)
        figure.update_xaxes(title_text=axis_label(x, log=log), **(_log_ticks() if log else {}), **place)
        figure.update_yaxes(title_text=axis_label(y).replace(" (%)", ""), tickformat=".0%" if is_share(y) else None, **place)
    figure.update_layout(**_layout(*comparison_headline(found)))
    return _write(figure, path)


def _traces(found: Comparison, curve: Curve, x: str, y: str, number: int, *, first: bool) -> Iterator[Any]:
    import plotly.graph_objects as go

    colour, shape = COLOURS[number % len(COLOURS)], "hv" if found.objectives[x] == "min" else "vh"
    for line, width, dash in ((curve.middle, 2.2, "solid"), *((end, 1.0, "dash") for end in curve.ends)):
        style = {"color": colour, "width": width, "shape": shape, "dash": dash}
        yield go.Scatter(
            x=line[:, 0], y=line[:, 1], mode="lines", line=style, hoverinfo="skip", showlegend=False, legendgroup=curve.name
        )
    hover = [_hover(found, row) for row in curve.members.to_dict("records")]
    marker = {"color": colour, "size": 10, "symbol": _SYMBOLS[number % len(_SYMBOLS)], "line": {"color": "white", "width": 1}}
    yield go.Scatter(
        x=curve.members[x], y=curve.members[y], mode="markers", marker=marker, hovertext=hover, hoverinfo="text",
        name=curve.name, legendgroup=curve.name, showlegend=first,
    )  # fmt: skip


def _add_rules(figure: Any, y_rules: Sequence[Rule], x_rules: Sequence[Rule], place: dict[str, int]) -> None:
    """Lines and bands of the floor and the reference, labelled at their ends."""
    for rule in y_rules:
        figure.add_hline(y=rule.value, line=_line(rule), **_label(rule), annotation_position="top right", **place)
        figure.add_hrect(y0=rule.low, y1=rule.high, **_band(rule), **place)
    for rule in x_rules:
        figure.add_vline(x=rule.value, line=_line(rule), **_label(rule), annotation_textangle=-90, **place)
        figure.add_vrect(x0=rule.low, x1=rule.high, **_band(rule), **place)


def _line(rule: Rule) -> dict[str, Any]:
    return {"color": rule.colour, "width": 1.6, "dash": rule.dash}


def _label(rule: Rule) -> dict[str, Any]:
    return {"annotation_text": _plain(rule.label), "annotation_font": {"color": rule.colour, "size": 11}}


def _band(rule: Rule) -> dict[str, Any]:
    return {"fillcolor": rule.colour, "opacity": 0.12, "line_width": 0, "layer": "below"}


def _hover(found: Comparison, row: dict[Any, Any]) -> str:
    name = _plain(f"{row['study']}: trial {trial_label(str(row['trial']).rpartition('/')[2])}")
    lines = [f"{axis_label(key).partition(' (')[0]}: {format_value(key, float(row[key]))}" for key in found.objectives]
    return "<br>".join([f"<b>{name}</b>", *lines])


def _log_ticks() -> dict[str, Any]:
    return {"type": "log", "tickmode": "array", "tickvals": _TICKS, "ticktext": [f"{value:g}" for value in _TICKS]}


def _layout(title: str, subtitle: str) -> dict[str, Any]:
    text = f"<b>{_plain(title)}</b><br><sup>{_plain(subtitle)}</sup>"
    return {
        "template": "plotly_white",
        "title": {"text": text, "x": 0.01, "xanchor": "left"},
        "font": _FONT,
        "legend": {"orientation": "h", "y": -0.14, "x": 0.0},
        "hoverlabel": {"align": "left", "bgcolor": "white"},
        "margin": {"l": 60, "r": 30, "t": 90, "b": 60},
        "hovermode": "closest",
    }


def _plain(text: str) -> str:
    """Text that no browser takes for markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _write(figure: Any, path: Path) -> Path:
    config = {"displaylogo": False, "responsive": True, "scrollZoom": True}
    text = figure.to_html(full_html=True, include_plotlyjs=True, config=config, default_height="92vh")
    write_atomic(path, text.encode())
    return path
