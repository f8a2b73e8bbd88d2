"""The front as a table: for the terminal (rich), for spreadsheets (CSV) and for programs (JSON)."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from paretolens.mlflow.chart import axis_label, format_knob, format_value, is_share, knobs, speed_up, trial_label
from paretolens.mlflow.front import FILTERED, Front
from paretolens.mlflow.names import interval_names

__all__ = ["front_rows", "rich_table", "to_csv", "to_json"]

_COSTS = ("latency_ms", "size_mb", "size_bytes", "parameters", "macs")
_BESIDE = ("neps", "agreement")
_WEIGHTS = {"latency_ms": 1, "size_mb": 1, "size_bytes": 1, "parameters": 4, "neps": 5, "agreement": 7, "macs": 8}
_RATIOS = {
    "latency_ms": ("speed_up", "faster"),
    "size_mb": ("size_ratio", "smaller"),
    "size_bytes": ("size_ratio", "smaller"),
    "parameters": ("parameter_ratio", "fewer"),
}


def front_rows(front: Front) -> list[dict[str, Any]]:
    """One row per member, best first: plain numbers, None where a value isn't known.

    Keys: `trial`, `run_id`, `knee`, `tied_with`; each objective with `<name>_low` and `<name>_high` where it has an interval;
    latency, size, parameters, MACs, nEPS and agreement where they were logged; `speed_up`, `size_ratio` and `parameter_ratio`
    (teacher / student) where the teacher's figure is known; and the knobs, under `knobs`.
    """
    return [_row(front, row) for row in front.members.to_dict("records")]


def _row(front: Front, row: dict[Any, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"trial": row["trial"], "run_id": row.get("run_id"), "knee": bool(row["knee"])}
    for name in dict.fromkeys((*front.objectives, *_COSTS, *_BESIDE)):
        for key in (name, *interval_names(name)):
            if key in row and (key == name or pd.notna(row[key])):
                result[key] = _number(row[key])
    teacher = front.study.teacher if front.study else {}
    result["speed_up"] = _number(speed_up(front, row))
    size = next((name for name in ("size_mb", "size_bytes") if name in row), "size_mb")
    result["size_ratio"] = _ratio(teacher.get(size), row.get(size))
    result["parameter_ratio"] = _ratio(teacher.get("parameters"), row.get("parameters"))
    result["tied_with"] = row["tied_with"]
    result["knobs"] = {key: _plain(value) for key, value in knobs(row).items()}
    return result


def to_json(front: Front) -> str:
    """The rows with the study, its objectives and the hypervolume around them."""
    content = {
        "study": front.study.name if front.study else None,
        "objectives": dict(front.objectives),
        "trials": len(front.trials),
        "excluded": len(front.excluded),
        "hypervolume": front.hypervolume(),
        "knee": None if front.knee is None else str(front.knee["trial"]),
        "where": front.where,
        "notes": list(front.notes),
        "history": _history(front),
        "front": front_rows(front),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _history(front: Front) -> list[dict[str, Any]]:
    """How the search came on: hypervolume and share of the front found after each trial."""
    return [
        {"trial": str(row["trial"]), "hypervolume": _number(row["hypervolume"]), "attained": _number(row["attained"])}
        for row in front.history().to_dict("records")
    ]


def to_csv(front: Front) -> str:
    """The rows with one column `params.<knob>` per knob."""
    rows = [_flat(row) for row in front_rows(front)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _safe(value) for key, value in row.items()} for row in rows)
    return file.getvalue()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in row.items() if key != "knobs"}
    return {**own, **{f"params.{key}": value for key, value in row["knobs"].items()}}


def rich_table(front: Front, *, shown_knobs: Sequence[str] | None = None, width: int | None = None) -> Any:
    """A `rich.table.Table`: objectives with intervals, speed-up and ratios against the teacher, the knobs that vary; ◆ = knee.

    Args:
        front: The front.
        shown_knobs: Knobs to show; by default those that differ between members, at most six.
        width: Columns of the terminal; what matters least is left out until the table fits. None shows everything.
    """
    from rich.table import Table

    rows = front_rows(front)
    columns = [*_columns(front, rows), *_knob_columns(rows, shown_knobs)]
    columns = columns if width is None else _fitting(columns, rows, width)
    table = Table(title=_title(front), title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
    table.add_column("trial", no_wrap=True)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True, style="dim" if column.dim else None)
    for row in rows:
        mark = "◆ " if row["knee"] else "≈ " if row["tied_with"] else "  "
        cells = [column.cell(row) for column in columns]
        table.add_row(mark + trial_label(row["trial"]), *cells, style="bold" if row["knee"] else None)
    if any(row["tied_with"] for row in rows):
        table.caption = "◆ knee   ≈ within the intervals of another member, which is better in the rest"
    return table


def _title(front: Front) -> str:
    name = f"{front.study.name}: " if front.study else ""
    filtered = int((front.excluded["why"] == FILTERED).sum())
    beside = f" ({filtered} more left out by the filter {front.where})" if filtered else ""
    return f"{name}{len(front.members)} of {len(front.trials)} complete trials are on the front{beside}"


@dataclass(frozen=True, kw_only=True)
class _Column:
    heading: str
    cell: Callable[[dict[str, Any]], str]
    weight: int
    """What is left out first has the largest."""
    dim: bool = False

    def width(self, rows: list[dict[str, Any]]) -> int:
        return max([len(self.heading), *(len(self.cell(row)) for row in rows)]) + 3


def _columns(front: Front, rows: list[dict[str, Any]]) -> list[_Column]:
    columns: list[_Column] = []
    names = dict.fromkeys((*front.objectives, *_COSTS, *_BESIDE))
    for name in names:
        if all(row.get(name) is None for row in rows) or (name == "size_bytes" and any("size_mb" in row for row in rows)):
            continue
        weight = 0 if name in front.objectives else _WEIGHTS.get(name, 2)
        heading = axis_label(name).replace(" (%)", "")
        columns.append(_Column(heading=heading, cell=partial(_with_interval, name=name), weight=weight))
        key, ratio = _RATIOS.get(name, ("", ""))
        if any(row.get(key) is not None for row in rows):
            columns.append(_Column(heading=ratio, cell=partial(_times, name=key), weight=weight + 1 if weight else 0))
    return columns


def _knob_columns(rows: list[dict[str, Any]], shown: Sequence[str] | None) -> list[_Column]:
    names = list(shown) if shown is not None else _varying(rows)
    return [
        _Column(heading=name, cell=partial(_knob, name=name), weight=3 + position, dim=True)
        for position, name in enumerate(names)
    ]


def _fitting(columns: list[_Column], rows: list[dict[str, Any]], width: int) -> list[_Column]:
    kept = list(columns)
    room = width - 12
    while sum(column.width(rows) for column in kept) > room and any(column.weight for column in kept):
        heaviest = max(column.weight for column in kept)
        last = max(place for place, column in enumerate(kept) if column.weight == heaviest)
        del kept[last]
    return kept


def _knob(row: dict[str, Any], *, name: str) -> str:
    return format_knob(row["knobs"].get(name, "–"))


def _with_interval(row: dict[str, Any], *, name: str) -> str:
    value = row.get(name)
    if value is None:
        return "–"
    low, high = (row.get(end) for end in interval_names(name))
    text = format_value(name, value, unit=is_share(name))
    if low is None or high is None:
        return text
    return f"{text.removesuffix(' %')} ± {format_value(name, (high - low) / 2, unit=is_share(name))}"


def _times(row: dict[str, Any], *, name: str) -> str:
    value = row.get(name)
    return "–" if value is None else f"{value:.1f}×" if value < 100 else f"{value:.0f}×"


def _varying(rows: list[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row["knobs"])
    varying = [name for name in names if len({str(row["knobs"].get(name)) for row in rows}) > 1]
    return varying[:6]


def _ratio(teacher: float | None, own: Any) -> float | None:
    return _number(teacher / own) if teacher and own and own > 0 else None


def _number(value: Any) -> float | int | None:
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) >= 1000 else number


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _safe(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula, made plain."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" and value else value
