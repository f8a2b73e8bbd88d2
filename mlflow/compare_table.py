"""A comparison of searches for the terminal (rich) and for programs (JSON)."""

import json
import math
from collections.abc import Iterator
from typing import Any

from rich.markup import escape

from paretolens.mlflow.chart import axis_label, format_value
from paretolens.mlflow.compare import Comparison, Side

__all__ = ["comparison_json", "comparison_lines"]

_MOST_ROWS = 12


def comparison_json(found: Comparison) -> str:
    """Everything in a comparison; pairs as `{"A": {"B": …}}`."""
    content = {
        "objectives": dict(found.objectives),
        "where": found.where,
        "ideal": dict(found.ideal),
        "reference": dict(found.reference),
        "sides": [_side(side) for side in found.sides],
        "coverage": _nested({pair: None if math.isnan(share) else share for pair, share in found.coverage.items()}),
        "dominates": _nested(
            {pair: [{"trial": lost.trial, "by": list(lost.by)} for lost in losses] for pair, losses in found.dominated.items()}
        ),
        "configuration": {difference.key: list(difference.values) for difference in found.configuration},
        "knobs": {name: list(tried) for name, tried in found.knobs.items()},
        "notes": list(found.notes),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _side(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "trials": len(side.together.trials),
        "excluded": len(side.together.excluded),
        "hypervolume": side.hypervolume,
        "hypervolumes": dict(side.hypervolumes),
        "front": side.together.members["trial"].astype(str).tolist(),
    }


def _nested(pairs: dict[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for (first, second), value in pairs.items():
        result.setdefault(first, {})[second] = value
    return result


def comparison_lines(found: Comparison) -> Iterator[Any]:
    """What `rich` prints: tables and lines, one after another."""
    yield _hypervolumes(found)
    yield _box(found)
    if found.where:
        yield f"only trials with {escape(found.where)}"
    yield from _coverage(found)
    yield from _settings(found)
    yield from (f"[yellow]{note}[/]" for note in found.notes)


def _hypervolumes(found: Comparison) -> Any:
    from rich.table import Table

    several = any(len(side.fronts) > 1 for side in found.sides)
    table = Table(pad_edge=False, header_style="bold")
    for heading in ("", "complete trials", "on the front", "hypervolume", *(["of each"] if several else [])):
        table.add_column(heading, justify="left" if heading == "" else "right")
    best = max(side.hypervolume for side in found.sides)
    for side in found.sides:
        counts = (str(len(side.together.trials)), str(len(side.together.members)))
        each = ", ".join(f"{share:.3f}" for share in side.hypervolumes.values())
        style = "bold" if side.hypervolume == best else None
        table.add_row(side.name, *counts, f"{side.hypervolume:.3f}", *([each] if several else []), style=style)
    return table


def _box(found: Comparison) -> str:
    corners = [
        f"{axis_label(name).partition(' (')[0]} "
        f"{format_value(name, found.reference[name])} to {format_value(name, found.ideal[name])}"
        for name in found.objectives
    ]
    return f"hypervolume: share of the box from the worst to the best of all trials ({'; '.join(corners)})"


def _coverage(found: Comparison) -> Iterator[str]:
    for (first, second), share in found.coverage.items():
        losses = found.dominated[first, second]
        size = len(next(side for side in found.sides if side.name == second).together.members)
        count = f"{len(losses)} of {size} members dominated"
        shown = "no member" if math.isnan(share) else f"{share:.0%} of {second}'s front ({count})"
        yield f"[bold]{first}[/] reaches or beats {shown}"
        for lost in losses[:_MOST_ROWS]:
            more = f" and {len(lost.by) - 3} more" if len(lost.by) > 3 else ""
            yield f"    {lost.trial}  is dominated by  {', '.join(lost.by[:3])}{more}"
        if len(losses) > _MOST_ROWS:
            yield f"    … and {len(losses) - _MOST_ROWS} more (--json names all)"


def _settings(found: Comparison) -> Iterator[Any]:
    from rich.table import Table

    rows = [(difference.key, *difference.values) for difference in found.configuration]
    rows += [(f"tried {name}", *tried) for name, tried in found.knobs.items() if len(set(tried)) > 1]
    if not rows:
        yield "the same configuration, versions and knobs"
        return
    table = Table(pad_edge=False, header_style="bold", title="what differs", title_justify="left")
    for heading in ("", *(side.name for side in found.sides)):
        table.add_column(heading, overflow="fold")
    for row in rows[: 2 * _MOST_ROWS]:
        table.add_row(*(text if len(text) <= 60 else f"{text[:57]}…" for text in row))
    yield table
    if len(rows) > 2 * _MOST_ROWS:
        yield f"… and {len(rows) - 2 * _MOST_ROWS} more (--json names all)"
