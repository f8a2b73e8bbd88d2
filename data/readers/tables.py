"""Lists that come with data sets: JSON and CSV files, read with errors that name file and line."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paretolens.errors import DataError

__all__ = ["number", "read_json_list", "read_rows", "unreadable"]


def unreadable(path: Path, reason: object, *, want: str) -> DataError:
    """One line about a list that is not what its layout says."""
    return DataError(f"{path} must be {want}, but {reason}: mend it, download it again or name another layout (data.layout)")


def read_json_list(path: Path, *, want: str) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it can't be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise unreadable(path, error.strerror or error, want=want) from error
    except ValueError as error:
        raise unreadable(path, f"it is no JSON ({error})", want=want) from error


def read_rows(path: Path, *, want: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Rows of a CSV file by column name (lower case, stripped), with their line numbers; a column without name is ``.

    Raises:
        DataError: it can't be read, or a row is shorter than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            header = [name.strip().lower() for name in next(reader, [])]
            if len(set(header)) != len(header):
                raise unreadable(path, f"its header names a column twice ({','.join(header)})", want=want)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) < len(header):
                    raise unreadable(path, f"line {reader.line_num} has {len(cells)} of {len(header)} columns", want=want)
                yield reader.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
    except OSError as error:
        raise unreadable(path, error.strerror or error, want=want) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise unreadable(path, f"it is no CSV in UTF-8 ({error})", want=want) from error


def number(text: str, path: Path, line: int, *, want: str) -> float:
    """A cell as a number.

    Raises:
        DataError: it is none.
    """
    try:
        return float(text)
    except ValueError as error:
        raise unreadable(path, f"line {line} has {text!r} where a number belongs", want=want) from error
