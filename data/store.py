"""Folders of arrays that are checked, renamed into place and built once, however many processes ask for them.

Layout of a saved set: `set.json` (signature, preprocessing, ids, kinds, checksums) and one `.npy` per column, none pickled.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from paretolens.data.preprocessing import Preprocessing
from paretolens.data.samples import COLUMNS, OPTIONAL, SampleSet
from paretolens.errors import IntegrityError, StoreError
from paretolens.files import replacing
from paretolens.models.signature import InputKind, Signature

__all__ = ["FORMAT", "build_once", "digest_of_file", "digest_of_json", "finish_set", "load_samples", "save_samples"]

FORMAT = 1
RECORD = "set.json"
BESIDE = ("videos.npy",)
"""Files that the fingerprint says nothing of: no model sees them, and sets from before they were kept hold the same samples."""


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_json(value: object) -> str:
    """SHA-256 of plain values, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Make a cache entry exactly once; processes that come at the same time wait for the first.

    Args:
        folder: The entry's final place. If it exists it is complete, and nothing is done.
        build: Fills a new temporary folder beside it, which is then renamed. What it leaves after an error is removed.

    Raises:
        StoreError: The folder cannot be written, or the disk is full.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{folder.name}.lock"):
            if not folder.is_dir():
                _build_and_rename(folder, build)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"the cache must be writable, {folder} is not ({reason}): free space or name another folder") from error
    return folder


def _build_and_rename(folder: Path, build: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        build(temporary)
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def save_samples(samples: SampleSet, folder: Path) -> None:
    """Write a set to `folder`, which must not exist yet; it appears complete or not at all."""
    if folder.exists():
        raise StoreError(f"a sample set is written to a new folder, {folder} exists: choose another name")

    def build(place: Path) -> None:
        columns = {name: getattr(samples, name) for name in COLUMNS} | {"mean_image": samples.mean_image}
        columns |= samples.optional() | {f"input_{name}": array for name, array in samples.arrays.items()}
        for name, array in columns.items():
            np.save(place / f"{name}.npy", array, allow_pickle=False)
        finish_set(
            place,
            signature=samples.signature,
            preprocessing=samples.preprocessing,
            ids=samples.ids,
            kinds=samples.kinds,
            generated=samples.generated,
        )

    build_once(folder, build)


def finish_set(
    place: Path,
    *,
    signature: Signature,
    preprocessing: Preprocessing,
    ids: tuple[str, ...],
    kinds: tuple[str, ...],
    generated: bool,
) -> None:
    """Write the record of a folder whose arrays are already there, with their checksums."""
    digests = {path.name: digest_of_file(path) for path in sorted(place.glob("*.npy"))}
    plain: dict[str, Any] = {
        "format": FORMAT,
        "note": _note(signature, generated),
        "generated": generated,
        "signature": signature.to_plain(),
        "preprocessing": preprocessing.to_json(),
        "ids": list(ids),
        "kinds": list(kinds),
        "files": digests,
    }
    plain["fingerprint"] = _fingerprint(plain)
    with replacing(place / RECORD) as temporary:
        temporary.write_text(json.dumps(plain, indent=1), encoding="utf-8")


def _fingerprint(record: dict[str, Any]) -> str:
    files = {name: digest for name, digest in record["files"].items() if name not in BESIDE}
    return digest_of_json({name: value for name, value in record.items() if name != "fingerprint"} | {"files": files})


def _note(signature: Signature, generated: bool) -> str:
    if any(spec.kind is InputKind.IMAGE for spec in signature.inputs):
        return "generated pictures: drawn faces, no photographs" if generated else "decoded pictures"
    return "generated clips: drawn faces and synthesised voices, no recordings" if generated else "decoded clips"


def load_samples(folder: Path, *, verify: bool = True) -> SampleSet:
    """Map a saved set into memory.

    Args:
        folder: A folder written by `save_samples`.
        verify: Compare every file with its checksum (about a second per GB). The record and the shapes are always checked.

    Raises:
        IntegrityError: A file is missing, damaged or of another format.
    """
    record = _read_record(folder)
    if verify:
        for name, digest in record["files"].items():
            if not (folder / name).is_file() or digest_of_file(folder / name) != digest:
                raise IntegrityError.damaged(folder, "its checksum differs", file=name)
    try:
        signature = Signature.from_plain(record["signature"])
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in (*COLUMNS, "mean_image")}
        for name in OPTIONAL:
            if f"{name}.npy" in record["files"]:
                arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        inputs = {
            spec.name: np.load(folder / f"input_{spec.name}.npy", mmap_mode="r", allow_pickle=False) for spec in signature.inputs
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError.damaged(folder, error) from error
    return SampleSet(
        signature=signature,
        preprocessing=Preprocessing.from_json(record["preprocessing"]),
        arrays=inputs,
        ids=tuple(record["ids"]),
        kinds=tuple(record["kinds"]),
        fingerprint=record["fingerprint"],
        generated=record["generated"],
        folder=folder,
        **arrays,
    )


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise IntegrityError(
                f"a sample set must have format {FORMAT}, {folder} has {record['format']}: delete it and build it again"
            )
        if record["fingerprint"] != _fingerprint(record):
            raise IntegrityError.damaged(folder, "its checksum differs", file=RECORD)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError.damaged(folder, error, file=RECORD) from error
    return record
