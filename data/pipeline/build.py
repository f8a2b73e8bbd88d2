"""A folder of files → one folder of arrays per split. What is decoded stays after a stop, and the next run goes on from there.

    <cache>/folder/<key>/                train/, val/, test/[, unseen/], about.json, skipped.csv[, boxes.json]
    <cache>/folder/<key>.decoding/       the same rows while they are made, and journal.jsonl

Memory is flat in the number of files but for their names: each process maps the rows of a few files at a time.
"""

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from paretolens.data.generated.rows import allocate_rows, open_rows
from paretolens.data.parallel import each_alone, each_batch
from paretolens.data.pipeline.journal import Done, append_done, read_done
from paretolens.data.pipeline.settings import FolderSettings
from paretolens.data.pipeline.work import Work, columns_of, decode_batch, rows_of, still_there
from paretolens.data.readers.hygiene import Organised
from paretolens.errors import DataError
from paretolens.files import replacing

__all__ = ["Decoded", "decode_all", "write_skipped"]

JOURNAL = "journal.jsonl"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """All files of a set, decoded or skipped."""

    works: tuple[Work, ...]
    """The files."""
    done: dict[int, Done]
    """By number of the file."""

    def split(self, name: str) -> Iterator[tuple[Work, Done]]:
        """The files of a split that gave samples, in the order of their rows."""
        return ((work, self.done[work.number]) for work in self.works if work.item.split == name and self.done[work.number].rows)

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(file, reason)."""
        return [(work.item.file, str(self.done[work.number].skipped)) for work in self.works if self.done[work.number].skipped]


def decode_all(
    organised: Organised, root: Path, settings: FolderSettings, place: Path, *, workers: int, progress: Progress | None
) -> Decoded:
    """Decode every file that `place` doesn't hold yet.

    Args:
        organised: The files and their splits.
        root: Folder of the files.
        settings: What is taken from each.
        place: Folder of what is being decoded; may be there from a run that was stopped.
        workers: Processes; 1 does everything in this one.
        progress: Called with (files done, files in all).

    Raises:
        DataError: too many files can't be read.
        OSError: the disk is full.
    """
    works = tuple(_numbered(organised, settings))
    done, again = _begun(works, settings, place)
    make = partial(decode_batch, settings, root, place)

    def take(batches: Iterator[list[Done]]) -> None:
        for batch in batches:
            append_done(place / JOURNAL, batch)
            done.update({entry.task: entry for entry in batch})
            if any(entry.skipped is not None for entry in batch):
                _judge(works, done, settings, place)
            if progress is not None:
                progress(len(done), len(works))

    _judge(works, done, settings, place)
    if progress is not None:
        progress(len(done), len(works))
    fresh = [work for work in works if work.number not in done and work.number not in again]
    take(each_batch(make, fresh, workers, crashed=_crashed))
    lost = [work for work in works if work.number in again or done[work.number].transient]
    take(each_alone(make, lost, crashed=_crashed))
    return Decoded(works=works, done=done)


def write_skipped(path: Path, skipped: Sequence[tuple[str, str]]) -> None:
    """The list of files that were left out."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("file", "reason"), *skipped])


def _numbered(organised: Organised, settings: FolderSettings) -> Iterator[Work]:
    rows: Counter[str] = Counter()
    for number, item in enumerate(organised.items):
        yield Work(number=number, item=item, row=rows[str(item.split)])
        rows[str(item.split)] += rows_of(item, settings)


def _begun(works: Sequence[Work], settings: FolderSettings, place: Path) -> tuple[dict[int, Done], set[int]]:
    """What an earlier run has done, and what it lost and is to be tried again; without one, its folder is made."""
    rows: Counter[str] = Counter()
    for work in works:
        rows[str(work.item.split)] += rows_of(work.item, settings)
    columns, done, again = columns_of(settings), dict[int, Done](), set[int]()
    if not (place / "ready").is_file():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for split, count in rows.items():
            allocate_rows(place / split, columns, count)
        (place / "ready").touch()
    for entry in read_done(place / JOURNAL):
        arrays = open_rows(place / str(works[entry.task].item.split), columns)
        if entry.transient:
            again.add(entry.task)
        elif still_there(entry, arrays):
            done[entry.task] = entry
    return done, again - done.keys()


def _crashed(work: Work) -> list[Done]:
    """A file on which the decoder itself died, with its process."""
    return [Done(task=work.number, skipped=f"{work.item.file} ended the process that decoded it", transient=True)]


def _judge(works: Sequence[Work], done: dict[int, Done], settings: FolderSettings, place: Path) -> None:
    """Stop where too many files can't be read, whichever run found them."""
    if sum(entry.skipped is not None for entry in done.values()) > settings.max_skipped * len(works):
        _refuse([(work.item.file, done[work.number].skipped) for work in works if work.number in done], settings, place)


def _refuse(files: Sequence[tuple[str, str | None]], settings: FolderSettings, place: Path) -> NoReturn:
    found = [(file, reason) for file, reason in files if reason is not None]
    listed = place.with_name(f"{place.name}.skipped.csv")
    write_skipped(listed, found)
    raise DataError(
        f"at most {settings.max_skipped:.1%} of the files may be unreadable (data.max_skipped), but {len(found)} of the first "
        f"{len(files)} are, for instance: {found[0][1]}; all are listed in {listed}: mend or remove them, or allow more"
    )
