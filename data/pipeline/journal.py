"""What is done of a set that is being decoded: one line per file, so that work that was stopped can be taken up again."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Done", "Row", "append_done", "read_done"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One sample that lies in the arrays."""

    row: int
    """Its row in the arrays of its split."""
    fake: bool
    """Whether it is manipulated."""
    kind: str
    """`real` or the kind of manipulation."""
    period: tuple[float, float]
    """Manipulated period, in seconds from the window's start."""
    start: float
    """Where the window starts, in seconds."""
    heard: bool
    """Whether there is sound."""
    digest: int
    """CRC-32 of its arrays."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """One file."""

    task: int
    """Its number."""
    rows: tuple[Row, ...] = ()
    """Its samples."""
    skipped: str | None = None
    """Why there are none."""
    transient: bool = False
    """Whether that may be the machine's doing (memory, a process that died) and not the file's: the next run tries again."""
    boxes: tuple[tuple[float, ...], ...] = ()
    """Where its face is."""


def append_done(path: Path, done: Iterable[Done]) -> None:
    """Add lines to the journal."""
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(asdict(entry)) + "\n" for entry in done)


def read_done(path: Path) -> Iterator[Done]:
    """The files of a journal, the last line of one whose writer was killed left out."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            with suppress(ValueError, TypeError, KeyError):
                yield _done(json.loads(line))


def _done(plain: dict[str, Any]) -> Done:
    rows = tuple(Row(**{**row, "period": tuple(row["period"])}) for row in plain["rows"])
    boxes = tuple(map(tuple, plain["boxes"]))
    return Done(
        task=plain["task"], rows=rows, skipped=plain["skipped"], transient=bool(plain.get("transient", False)), boxes=boxes
    )
