"""Everything the page shows, as one JSON document with a version; the page's script needs nothing else."""

import json
import math
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd

from paretolens import __version__
from paretolens.mlflow.chart import Rule, headline, panels
from paretolens.mlflow.confidence import confidence_of, levels_told
from paretolens.mlflow.explorer.columns import Column, describe_columns
from paretolens.mlflow.explorer.commands import export_commands
from paretolens.mlflow.explorer.importance import Importance, knob_importance
from paretolens.mlflow.explorer.pictures import Picture, Pictures
from paretolens.mlflow.explorer.progress import Progress, search_progress
from paretolens.mlflow.front import FILTERED, Front
from paretolens.mlflow.names import Tag, interval_names

__all__ = ["SCHEMA", "Document", "PanelDocument", "Trials", "build_document", "to_json"]

SCHEMA = 2
"""Version of the document; raised when a field changes its meaning or goes."""
_DIGITS = 7


@dataclass(frozen=True, kw_only=True)
class PanelDocument:
    """One scatter: an objective against the cost."""

    x: str
    """Column across."""
    y: str
    """Column upwards."""
    x_label: str
    """With its unit."""
    y_label: str
    """With its unit."""
    log_x: bool
    """Whether x is drawn on a logarithmic scale."""
    stairs: list[int]
    """Rows of `trials` that no other beats in x and y alone, by x."""
    step: Literal["step-after", "step-before"]
    """How the stairs go on between two of them: `step-before` where more of x is better."""
    teacher: list[float] | None
    """(x, y) of the teacher."""
    rules: list[Rule]
    """Floor and reference at values of y."""
    x_rules: list[Rule]
    """The same at values of x."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Every trial of the study, in lists of equal length: the ranked ones by their start, then the others."""

    trial: list[str]
    """Names."""
    run_id: list[str]
    """Runs in the store."""
    state: list[str]
    """`complete`, `pruned`, …"""
    note: list[str]
    """Why it isn't ranked; empty for the ranked."""
    rank: list[int | None]
    """0 = on the front; None for trials that aren't ranked. Only the ranked are drawn."""
    pareto: list[bool]
    """Whether it is on the front."""
    knee: list[bool]
    """Whether it is the knee."""
    tied_with: list[str]
    """Members within its intervals, comma-separated."""
    values: dict[str, list[Any]]
    """Column, or `<column>_low` and `<column>_high`, → values; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a page holds."""

    schema: int
    """Version of these fields."""
    version: str
    """Version of Paretolens."""
    written: str
    """When, ISO 8601 in UTC."""
    study: str
    """Name of the study."""
    run_id: str
    """Its parent run; empty without a store."""
    state: str
    """`running`, `complete`, …; empty without a store."""
    summary: str
    """One line: how many are on the front, and the knee."""
    notes: list[str]
    """What a reader must know: trials that don't count, pictures that are missing."""
    commands: dict[str, str]
    """Trial → the command that exports it; members only, and only those that the command takes."""
    confidence: dict[str, float]
    """Objective with an interval → the interval's level, 0…1."""
    levels: str
    """The same in words."""
    measured: str
    """Runtime that latencies were measured on; empty if unknown."""
    objectives: dict[str, str]
    """Column → direction."""
    columns: list[Column]
    """All metrics and knobs."""
    panels: list[PanelDocument]
    """The scatters."""
    teacher: dict[str, float | None]
    """Its figures by the trials' metric names."""
    trials: Trials
    """The trials."""
    importance: list[Importance]
    """Per objective."""
    progress: Progress
    """Hypervolume and attainment over time."""
    pictures: dict[str, list[Picture]]
    """Trial → overlays; members only."""


def build_document(front: Front, *, pictures: Pictures | None = None) -> Document:
    """The document of a front."""
    found, study = pictures or Pictures(), front.study
    everything = _everything(front)
    columns = describe_columns(everything, front.objectives)
    tags, params = (study.tags, study.params) if study else ({}, {})
    spread = [name for name in front.objectives if interval_names(name)[0] in everything]
    return Document(
        schema=SCHEMA,
        version=__version__,
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        study=study.name if study else "trials",
        run_id=study.run_id if study else "",
        state=tags.get(Tag.STATE, ""),
        summary=headline(front)[1],
        notes=[*_notes(front), *front.notes, *found.notes],
        commands=export_commands(front),
        confidence={name: confidence_of(params, name) for name in spread},
        levels=levels_told(params, spread),
        measured=tags.get("paretolens.latency_backend", ""),
        objectives={str(name): str(direction) for name, direction in front.objectives.items()},
        columns=columns,
        panels=_panels(front),
        teacher={name: _plain(value) for name, value in (study.teacher if study else {}).items()},
        trials=_trials(everything, columns),
        importance=knob_importance(front),
        progress=search_progress(front),
        pictures=found.of,
    )


def to_json(document: Document) -> str:
    """JSON without NaN, safe between `<script>` tags: no text in it can end the element or begin another."""
    text = json.dumps(_dictionary(document), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _dictionary(document: Document) -> dict[str, Any]:
    whole = {field.name: getattr(document, field.name) for field in fields(document)}
    trials = whole["trials"]
    return {
        **whole,
        "progress": asdict(document.progress),
        "columns": [asdict(column) for column in document.columns],
        "panels": [asdict(panel) for panel in document.panels],
        "importance": [asdict(entry) for entry in document.importance],
        "pictures": {trial: [asdict(picture) for picture in entries] for trial, entries in document.pictures.items()},
        "trials": {field.name: getattr(trials, field.name) for field in fields(trials)},
    }


def _everything(front: Front) -> pd.DataFrame:
    others = front.excluded
    if "why" in others:
        others = others[others["why"] != FILTERED]
    if not len(others):
        return front.trials.assign(why="")
    others = others.assign(rank=None, pareto=False, knee=False, tied_with="")
    return pd.concat([front.trials.assign(why=""), others], ignore_index=True)


def _notes(front: Front) -> list[str]:
    notes = []
    if front.study and front.study.tags.get(Tag.STATE) == "running":
        notes.append("The study is still running: this page shows it as it was when the page was written.")
    if not len(front.excluded):
        return notes
    counts = front.excluded["why"].value_counts()
    listed = ", ".join(f"{count} {why}" for why, count in counts.items())
    return [*notes, f"Not drawn: {listed}."]


def _panels(front: Front) -> list[PanelDocument]:
    place = {index: row for row, index in enumerate(front.trials.index)}
    drawn = []
    for panel in panels(front):
        teacher = panel.teacher(front)
        drawn.append(
            PanelDocument(
                x=panel.x,
                y=panel.y,
                x_label=panel.x_label,
                y_label=panel.y_label,
                log_x=panel.log_x,
                stairs=[place[index] for index in panel.joined.index],
                step="step-before" if front.objectives[panel.x] == "max" else "step-after",
                teacher=list(teacher) if teacher else None,
                rules=list(panel.rules),
                x_rules=list(panel.x_rules),
            )
        )
    return drawn


def _trials(table: pd.DataFrame, columns: list[Column]) -> Trials:
    names = [name for column in columns for name in (column.name, *interval_names(column.name)) if name in table]
    return Trials(
        trial=_texts(table, "trial"),
        run_id=_texts(table, "run_id"),
        state=_texts(table, "state"),
        note=[reason or why for why, reason in zip(_texts(table, "why"), _texts(table, "reason"), strict=True)],
        rank=[None if pd.isna(rank) else int(rank) for rank in table["rank"]],
        pareto=[bool(value) for value in table["pareto"]],
        knee=[bool(value) for value in table["knee"]],
        tied_with=_texts(table, "tied_with"),
        values={name: [_plain(value) for value in table[name].tolist()] for name in names},
    )


def _texts(table: pd.DataFrame, name: str) -> list[str]:
    if name not in table:
        return [""] * len(table)
    return ["" if pd.isna(value) else str(value) for value in table[name].tolist()]


def _plain(value: Any) -> Any:
    """A JSON value: numbers to seven digits, None for NaN, infinities and nothing."""
    if value is None or isinstance(value, str | bool):
        return value
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 1e15 else float(f"{number:.{_DIGITS}g}")
