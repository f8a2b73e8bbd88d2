"""Markdown whose text stays text: names and knobs out of a store never become markup."""

import re
from collections.abc import Sequence

__all__ = ["bullets", "code", "escape", "fenced", "heading", "table"]


def escape(text: object) -> str:
    """Text on one line that Markdown reads as it is."""
    line = " ".join(str(text).split())
    line = re.sub(r"([\\`*\[\]<>|&~#])", r"\\\1", line)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line)


def code(text: object) -> str:
    """An inline piece of code; empty text gives a dash."""
    line = " ".join(str(text).split()).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else "–"


def heading(text: str, level: int = 2) -> str:
    """A heading, its text escaped."""
    return f"{'#' * level} {escape(text)}"


def fenced(text: str, language: str = "") -> str:
    """A block of code, whatever fences are in it."""
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def bullets(lines: Sequence[str]) -> str:
    """A list of lines that are Markdown already."""
    return "\n".join(f"- {line}" for line in lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """A table of cells that are Markdown already; columns of `numbers` stand to the right, all but the first."""
    marks = ["---", *["---:" if numbers else "---"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *rows))
