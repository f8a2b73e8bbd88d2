"""A finished search as a table: every genome with what came out of it, how long it took and how it got there. JSON, no pickle."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretolens.errors import ConfigurationError, DataError
from paretolens.exporters.files import write_atomic
from paretolens.search.outcome import Objective
from paretolens.spaces.knobs import Genome, Space
from paretolens.spaces.registry import get_family

__all__ = ["Report", "Row", "Table", "read_table", "write_table"]

FORMAT = "paretolens-table-1"
MAX, MIN = "max", "min"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a trial reported on its way."""

    seconds: float
    """How long it had run."""
    metrics: Mapping[str, float]
    """What it reported."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One genome."""

    genome: Genome
    """Complete and repaired."""
    values: Mapping[str, float]
    """Objective → value, in natural units and direction."""
    seconds: float
    """How long the trial ran."""
    reports: tuple[Report, ...] = ()
    """Its epochs, oldest first; empty where they were not recorded."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows and what they are rows of."""

    name: str
    """For titles."""
    space: Space
    """What the genomes are from."""
    origin: Mapping[str, Any]
    """How to build the space again: `family`, `preset` and `space` (the overrides)."""
    objectives: tuple[Objective, ...]
    """The axes."""
    rows: tuple[Row, ...]
    """Evaluated genomes, each once."""
    first: tuple[Genome, ...] = ()
    """Genomes that the search began with."""
    complete: bool = False
    """Whether every genome of the space has a row."""


def write_table(table: Table, path: Path) -> None:
    """Write a table that `read_table` reads back."""
    content = {
        "format": FORMAT,
        "name": table.name,
        "origin": dict(table.origin),
        "objectives": {objective.name: MAX if objective.maximise else MIN for objective in table.objectives},
        "first": [dict(genome) for genome in table.first],
        "rows": [dataclasses.asdict(row) for row in table.rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False).encode())


def read_table(path: Path) -> Table:
    """Read a table.

    Raises:
        DataError: the file cannot be read, is no such table, holds a genome that its space does not have, or lacks a value.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, expected {FORMAT!r}")
        origin, objectives = content["origin"], _objectives(content["objectives"])
        space = get_family(origin["family"]).space(origin["preset"]).override(origin["space"])
        return Table(
            name=str(content["name"]), space=space, origin=origin,
            objectives=objectives,
            first=tuple(_complete(space, genome) for genome in content["first"]),
            rows=tuple(_row(item, space, objectives) for item in content["rows"]),
        )  # fmt: skip
    except OSError as error:
        raise DataError(
            f"table {path}: cannot be read ({error.strerror}); write one with 'paretolens replay --record'"
        ) from error
    except ConfigurationError as error:
        raise DataError(f"table {path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"table {path}: is no recorded search ({error}); record it again with 'paretolens replay'") from error


def _objectives(ways: Mapping[str, str]) -> tuple[Objective, ...]:
    if not ways or not set(ways.values()) <= {MAX, MIN}:
        raise ValueError(f"its objectives are {ways}, expected {MAX} or {MIN} for each of one or more")
    return tuple(Objective(name=name, maximise=way == MAX) for name, way in ways.items())


def _row(item: Mapping[str, Any], space: Space, objectives: Sequence[Objective]) -> Row:
    genome = _complete(space, item["genome"])
    values, seconds = item["values"], float(item["seconds"])
    if lacking := [one.name for one in objectives if one.name not in values]:
        raise ValueError(f"a row has no value of {', '.join(lacking)}: {values}")
    if not all(math.isfinite(number) for number in (*values.values(), seconds)) or seconds < 0:
        raise ValueError(f"a row holds a value that is no finite number: {values}, {seconds} s")
    reports = tuple(Report(seconds=float(one["seconds"]), metrics=one["metrics"]) for one in item["reports"])
    return Row(genome=genome, values=values, seconds=seconds, reports=reports)


def _complete(space: Space, genome: Genome) -> Genome:
    """With the default of every knob that came after the table was recorded; what the space does not have is refused."""
    whole = {knob.name: genome.get(knob.name, knob.default) for knob in space.knobs} | dict(genome)
    space.validate(whole)
    return whole
