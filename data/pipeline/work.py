"""What one process does: decode some files into the rows of arrays that are mapped by all."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.data.generated.rows import Columns, open_rows
from paretolens.data.pipeline.crop import Cropper, make_cropper
from paretolens.data.pipeline.decode import Decoder, samples_of
from paretolens.data.pipeline.journal import Done, Row
from paretolens.data.pipeline.settings import FolderSettings, Take
from paretolens.data.readers.listing import Item, Media, media_of
from paretolens.data.regions import REGION_CELLS
from paretolens.errors import DataError

__all__ = ["Work", "columns_of", "decode_batch", "rows_of", "still_there"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One file to decode."""

    number: int
    """Its number in the set."""
    item: Item
    """The file."""
    row: int
    """Its first row in the arrays of its split."""


def columns_of(settings: FolderSettings) -> Columns:
    """Arrays of a split: name → shape of one row and type."""
    size, cells = settings.pixels, (REGION_CELLS, REGION_CELLS)
    if settings.take is Take.PICTURES:
        return {"input_image": ((3, size, size), np.uint8), "regions": ((1, *cells), bool)}
    clip = settings.preprocessing().of_clips()
    T, L = clip.frames, clip.audio_frames
    return {
        "input_video": ((T, 3, size, size), np.uint8),
        "input_audio": ((L, clip.audio.coefficients), np.float32),
        "input_video_mask": ((T,), bool),
        "input_audio_mask": ((L,), bool),
        "regions": ((T, *cells), bool),
        **({"moments": ((T,), np.float32)} if settings.chooses else {}),
    }


def rows_of(item: Item, settings: FolderSettings) -> int:
    """The most samples that a file gives."""
    if settings.take is Take.CLIPS:
        return settings.windows
    return settings.per_video if media_of(item.file) is Media.VIDEO else 1


def decode_batch(settings: FolderSettings, root: Path, place: Path, works: Sequence[Work]) -> list[Done]:
    """Decode some files and write their rows; files that can't be read are said to be skipped."""
    decoder = Decoder(root=root, settings=settings, cropper=_cropper(settings))
    columns = columns_of(settings)
    splits = {str(work.item.split) for work in works}
    arrays = {split: open_rows(place / split, columns) for split in splits}
    return [_decode(work, decoder, arrays[str(work.item.split)]) for work in works]


def still_there(done: Done, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether the rows of a file are what was written: a machine that lost power may have kept the journal and lost them."""
    return all(_digest(arrays, row.row) == row.digest for row in done.rows)


@lru_cache(maxsize=1)
def _cropper(settings: FolderSettings) -> Cropper | None:
    return make_cropper(settings)


def _decode(work: Work, decoder: Decoder, arrays: Mapping[str, np.ndarray]) -> Done:
    rows: list[Row] = []
    boxes: list[Any] = []
    try:
        for sample in samples_of(work.item, decoder):
            row = work.row + len(rows)
            for name, array in sample.arrays.items():
                arrays[name][row] = array
            boxes += [box for box in sample.boxes if box not in boxes]
            rows.append(
                Row(
                    row=row,
                    fake=sample.truth.fake,
                    kind=sample.truth.kind,
                    period=sample.truth.period,
                    start=round(sample.start, 6),
                    heard="input_audio_mask" in sample.arrays and not bool(sample.arrays["input_audio_mask"].all()),
                    digest=_digest(arrays, row),
                )
            )
    except DataError as error:
        return Done(task=work.number, skipped=" ".join(str(error).split()))
    except MemoryError:
        return Done(task=work.number, skipped=f"{work.item.file} needs more memory than there is", transient=True)
    return Done(task=work.number, rows=tuple(rows), boxes=tuple(boxes))


def _digest(arrays: Mapping[str, np.ndarray], row: int) -> int:
    value = 0
    for name in sorted(arrays):
        value = zlib.crc32(np.ascontiguousarray(arrays[name][row]).view(np.uint8).data, value)
    return value
