"""Decoded rows → the sample sets of all splits, as `SampleSet.load` maps them."""

import json
import os
import shutil
from pathlib import Path

import numpy as np

from paretolens.data.pipeline.build import Decoded, write_skipped
from paretolens.data.pipeline.journal import Row
from paretolens.data.pipeline.settings import FolderSettings, Take
from paretolens.data.pipeline.work import Work, columns_of
from paretolens.data.preprocessing import Normaliser
from paretolens.data.readers.hygiene import Organised
from paretolens.data.readers.listing import REAL
from paretolens.data.reading import Select
from paretolens.data.samples import IN_SYNC, UNKNOWN_OFFSET
from paretolens.data.scales import clip_scales, mean_picture
from paretolens.data.store import digest_of_file, finish_set
from paretolens.errors import DataError
from paretolens.files import replacing

__all__ = ["finish_splits"]

CHUNK = 64
"""Rows that are copied at a time."""
Kept = list[tuple[Work, Row]]


def finish_splits(decoded: Decoded, organised: Organised, settings: FolderSettings, source: Path, target: Path) -> None:
    """Fill a new folder with one sample set per split, and with what was skipped.

    Args:
        decoded: Every file.
        organised: Their families and persons, by number of the file.
        settings: What was taken from them.
        source: Folder of the decoded rows.
        target: An empty folder.

    Raises:
        DataError: no real or no fake sample, or none of a class, is left in a split.
        OSError: the disk is full.
    """
    splits = {split: _kept(decoded, split) for split in ("train", "val", "test", "unseen")}
    splits = {split: kept for split, kept in splits.items() if kept or split != "unseen"}
    for split, kept in splits.items():
        _check(split, kept, settings)
        _keep_rows(source / split, target / split, settings, np.array([row.row for _, row in kept]))
    scales = _scales(target / "train", settings)
    for split, kept in splits.items():
        _finish_split(split, kept, organised, settings, target / split, scales=scales)
    write_skipped(target / "skipped.csv", decoded.skipped)
    _write_boxes(target / "boxes.json", decoded)


def _kept(decoded: Decoded, split: str) -> Kept:
    return [(work, row) for work, done in decoded.split(split) for row in done.rows]


def _check(split: str, kept: Kept, settings: FolderSettings) -> None:
    wanted = settings.classes or (REAL, "fake")
    found = {row.kind if settings.classes else "fake" if row.fake else REAL for _, row in kept}
    lacks = [name for name in wanted if name not in found]
    if lacks:
        raise DataError(
            f"every split needs {' and '.join(wanted)} samples, {split} has no {' and no '.join(lacks)} one once the files are "
            "read: look at the periods and at what was skipped, or add files"
        )


def _keep_rows(source: Path, target: Path, settings: FolderSettings, rows: np.ndarray) -> None:
    """Put the rows that were filled into a new folder; where all were, no byte is copied."""
    target.mkdir()
    for name in columns_of(settings):
        path = source / f"{name}.npy"
        array = np.load(path, mmap_mode="r")
        if len(rows) == len(array):
            _link(path, target / path.name)
            continue
        np.lib.format.open_memmap(target / path.name, "w+", array.dtype, (len(rows), *array.shape[1:])).flush()
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            writing = np.load(target / path.name, mmap_mode="r+")
            writing[start : start + len(part)] = np.load(path, mmap_mode="r")[part]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _scales(train: Path, settings: FolderSettings) -> tuple[Normaliser | None, np.ndarray]:
    return (None, mean_picture(train)) if settings.take is Take.PICTURES else clip_scales(train)


def _finish_split(
    split: str,
    kept: Kept,
    organised: Organised,
    settings: FolderSettings,
    place: Path,
    *,
    scales: tuple[Normaliser | None, np.ndarray],
) -> None:
    numbers = [work.number for work, _ in kept]
    small: dict[str, np.ndarray] = {
        "labels": np.array([row.fake for _, row in kept], np.float32),
        "groups": np.array([organised.groups[number] for number in numbers], np.int64),
        "identities": np.array([organised.identities[number] for number in numbers], np.int64),
        "strengths": np.array([row.fake for _, row in kept], np.float32),
        "offsets": np.array([_offset(row, settings) for _, row in kept], np.int64),
        "periods": np.array([row.period for _, row in kept], np.float32),
        "mean_image": scales[1],
    }
    if settings.take is Take.CLIPS and all(work.item.fake_sound is not None or not row.fake for work, row in kept):
        small["sounds"] = np.array([bool(row.fake and work.item.fake_sound) for work, row in kept])
    names = [(work.item.kind, work.item.video or work.item.file) for work, _ in kept]  # lists call a fake by its original's name
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    if len(places) < len(names):
        small["videos"] = np.array([places[name] for name in names], np.int64)
    for name, array in small.items():
        np.save(place / f"{name}.npy", array, allow_pickle=False)
    finish_set(
        place,
        signature=settings.signature(),
        preprocessing=settings.preprocessing(
            scales[0], face_model="" if settings.face_model is None else digest_of_file(settings.face_model)
        ),
        ids=_names(split, kept),
        kinds=tuple(row.kind for _, row in kept),
        generated=False,
    )


def _offset(row: Row, settings: FolderSettings) -> int:
    """Real clips with sound are in sync; what a manipulation did to the sync nobody knows."""
    known = not row.fake and row.heard and settings.select is Select.UNIFORM
    return IN_SYNC if known else UNKNOWN_OFFSET


def _names(split: str, kept: Kept) -> tuple[str, ...]:
    """`split/file`, with the second at which it starts where a file gives several samples."""
    several = len({work.number for work, _ in kept}) < len(kept)
    return tuple(f"{split}/{work.item.file}" + (f"@{row.start:.3f}" if several else "") for work, row in kept)


def _write_boxes(path: Path, decoded: Decoded) -> None:
    """Where faces were found, as `data.boxes` takes them."""
    found = {work.item.file: [list(box) for box in decoded.done[work.number].boxes] for work in decoded.works}
    found = {file: boxes for file, boxes in found.items() if boxes}
    if found:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
