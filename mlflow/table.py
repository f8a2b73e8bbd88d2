"""The front as a table: for the terminal (rich), for spreadsheets (CSV) and for programs (JSON)."""

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from paretolens.mlflow.chart import axis_label, format_knob, format_value, knobs, speed_up
from paretolens.mlflow.front import Front
from paretolens.mlflow.names import interval_names

__all__ = ["front_rows", "rich_table", "to_csv", "to_json"]

_COSTS = ("latency_ms", "size_mb", "size_bytes", "parameters", "macs")
_BESIDE = ("neps", "agreement")


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
        "front": front_rows(front),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def to_csv(front: Front) -> str:
    """The rows with one column per knob."""
    rows = [{**{k: v for k, v in row.items() if k != "knobs"}, **row["knobs"]} for row in front_rows(front)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _safe(value) for key, value in row.items()} for row in rows)
    return file.getvalue()


def rich_table(front: Front, *, shown_knobs: Sequence[str] | None = None) -> Any:
    """A `rich.table.Table`: objectives with intervals, speed-up and ratios against the teacher, the knobs that vary; ◆ = knee.

    Args:
        front: The front.
        shown_knobs: Knobs to show; by default those that differ between members, at most six.
    """
    from rich.table import Table

    rows = front_rows(front)
    table = Table(title=_title(front), title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
    columns = _columns(front, rows)
    table.add_column("trial", no_wrap=True)
    for heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    names = list(shown_knobs) if shown_knobs is not None else _varying(rows)
    for name in names:
        table.add_column(name, justify="right", style="dim")
    for row in rows:
        mark = "◆ " if row["knee"] else "≈ " if row["tied_with"] else "  "
        cells = [mark + str(row["trial"]), *(cell(row) for _, cell in columns)]
        cells += [format_knob(row["knobs"].get(name, "–")) for name in names]
        table.add_row(*cells, style="bold" if row["knee"] else None)
    if any(row["tied_with"] for row in rows):
        table.caption = "◆ knee   ≈ within the intervals of another member, which is better in the rest"
    return table


def _title(front: Front) -> str:
    name = f"{front.study.name}: " if front.study else ""
    return f"{name}{len(front.members)} of {len(front.trials)} complete trials are on the front"


def _columns(front: Front, rows: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    columns: list[tuple[str, Any]] = []
    for name in dict.fromkeys((*front.objectives, *_COSTS, *_BESIDE)):
        if name == "size_bytes" and any("size_mb" in row for row in rows):
            continue
        if not any(row.get(name) is not None for row in rows):
            continue
        columns.append((axis_label(name).replace(" (%)", ""), lambda row, name=name: _with_interval(row, name)))
        ratio = {"latency_ms": "speed_up", "size_mb": "size_ratio", "size_bytes": "size_ratio", "parameters": "parameter_ratio"}
        key = ratio.get(name, "")
        if any(row.get(key) is not None for row in rows):
            heading = {"speed_up": "faster", "size_ratio": "smaller", "parameter_ratio": "fewer"}[key]
            columns.append((heading, lambda row, key=key: _times(row.get(key))))
    return columns


def _with_interval(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return "–"
    low, high = (row.get(end) for end in interval_names(name))
    text = format_value(name, value)
    if low is None or high is None:
        return text
    return f"{text.removesuffix(' %')} ± {format_value(name, (high - low) / 2)}"


def _times(value: float | None) -> str:
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
