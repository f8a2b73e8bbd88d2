"""Files that appear whole or not at all, and their checksums."""

import hashlib
from pathlib import Path

from paretolens.errors import StoreError
from paretolens.files import replacing

__all__ = ["sha256_of", "write_atomic"]


def write_atomic(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write `content` under a temporary name beside `path`, then rename; folders are made.

    Args:
        path: where it appears.
        content: all of it.
        mode: rights of the file from its first moment, less the process's umask.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    try:
        with replacing(path) as temporary:
            temporary.touch(mode=mode)
            temporary.write_bytes(content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            f"file {path}: cannot be written ({reason}); free space, mend the rights or choose another folder"
        ) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
