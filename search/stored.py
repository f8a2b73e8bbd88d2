"""Reading back the small JSON files that a study and its caches keep."""

import json
from pathlib import Path
from typing import Any

from paretolens.errors import IntegrityError

__all__ = ["read_json"]


def read_json(path: Path, *keys: str, entry: Path | None = None) -> dict[str, Any]:
    """The object in a file, which must have these keys.

    Args:
        path: the file.
        keys: what it must hold.
        entry: the cache entry to delete if it is damaged; the file itself by default.

    Raises:
        IntegrityError: the file is missing, cut short, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in keys if key not in value]
    except (OSError, ValueError, TypeError) as error:
        raise IntegrityError(f"{path}: cannot be read back ({error}); delete {entry or path}, and it is made again") from error
    if not isinstance(value, dict) or missing:
        raise IntegrityError(
            f"{path}: {', '.join(missing) or 'an object'} is missing in it; delete {entry or path}, and it is made again"
        )
    return value
