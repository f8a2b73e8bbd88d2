"""Digests by which the files of a data set are known again; kept, so that unchanged files are read once."""

import contextlib
import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from paretolens.data.pipeline.settings import Contents
from paretolens.data.store import digest_of_file
from paretolens.files import replacing

__all__ = ["MISSING", "digests_of"]

MISSING = "missing"
END = 1 << 16
THREADS = 8
"""Files read at a time: reading ends is waiting, above all on network drives."""


def digests_of(root: Path, files: Iterable[str], how: Contents, memory: Path) -> dict[str, str]:
    """Digest of each file, MISSING where there is none.

    Args:
        root: Folder of the files.
        files: Paths within it.
        how: What of a file is read.
        memory: JSON file in which digests are kept with size and time of the last change; damaged or missing is no fault.

    Raises:
        OSError: the memory can't be written.
    """
    known = _remembered(memory)
    names = list(dict.fromkeys(files))
    with ThreadPoolExecutor(THREADS) as pool:
        found = dict(
            zip(names, pool.map(lambda name: _entry(root / name, known.get(name), how), names, chunksize=64), strict=True)
        )
    if found != known:
        with replacing(memory) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    return {name: str(entry[2]) for name, entry in found.items()}


def _remembered(memory: Path) -> dict[str, list[int | str]]:
    with contextlib.suppress(OSError, ValueError):
        plain = json.loads(memory.read_text(encoding="utf-8"))
        return {str(name): list(entry) for name, entry in plain.items()} if isinstance(plain, dict) else {}
    return {}


def _entry(path: Path, known: list[int | str] | None, how: Contents) -> list[int | str]:
    """Size, time of the last change (ns) and digest."""
    try:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        if known is not None and known[:2] == stamp:
            return known
        digest = digest_of_file(path) if how is Contents.WHOLE else _of_ends(path, stat.st_size)
    except OSError:
        return [0, 0, MISSING]
    return [*stamp, digest]


def _of_ends(path: Path, size: int) -> str:
    digest = hashlib.sha256(f"{size} ".encode())
    with path.open("rb") as stream:
        digest.update(stream.read(END))
        if size > END:
            stream.seek(max(END, size - END))
            digest.update(stream.read(END))
    return digest.hexdigest()
