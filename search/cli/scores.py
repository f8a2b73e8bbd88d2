"""The table of what a teacher scores, split by split."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["scores_table"]


def scores_table(columns: Mapping[str, Mapping[str, float]], rows: Iterable[str]) -> "Table":
    """A row per figure, a column per split; a dash where a split has no such figure."""
    from rich.table import Table

    table = Table(title="teacher", title_justify="left", pad_edge=False)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row, *("–" if row not in figures else f"{figures[row]:.4f}" for figures in columns.values()))
    return table
