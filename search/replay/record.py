"""From a finished study to a table, read from the study's own files."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from paretolens.errors import DataError
from paretolens.search.config import Config
from paretolens.search.epochs import EpochLine, read_epochs
from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate, Objective, TrialRecord
from paretolens.search.replay.table import Report, Row, Table

__all__ = ["record_study"]


def record_study(folder: Path, config: Config, objectives: Sequence[Objective]) -> Table:
    """The evaluated trials of a study, with their epochs where they were kept.

    Raises:
        StoreError: the folder holds no journal.
        DataError: no trial was evaluated.
    """
    epochs: dict[int, list[EpochLine]] = defaultdict(list)
    for line in read_epochs(folder):
        epochs[line.number].append(line)
    entries = [entry for entry in read_records(folder) if entry.fate is Fate.EVALUATED]
    if not entries:
        raise DataError(f"study {folder.name}: no trial was evaluated, so there is nothing to replay; run the search first")
    return Table(
        name=folder.name,
        space=config.make_space(),
        origin={"family": config.family, "preset": config.space_preset, "space": dict(config.space)},
        objectives=tuple(objectives),
        rows=tuple(_row(entry, epochs[entry.number], objectives) for entry in entries),
        first=tuple(config.first_genomes()),
    )


def _row(entry: TrialRecord, lines: Sequence[EpochLine], objectives: Sequence[Objective]) -> Row:
    return Row(
        genome=entry.genome,
        values={objective.name: entry.values[objective.name] for objective in objectives},
        seconds=entry.seconds,
        reports=tuple(Report(seconds=line.seconds, metrics=line.metrics) for line in lines),
    )
