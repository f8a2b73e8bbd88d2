"""The study's record: an Optuna journal of which one driver at a time is the writer.

Opening it ends the trials that a dead driver left RUNNING as INTERRUPTED; their genomes are owed another attempt. Any Optuna tool
can read the file.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from optuna.storages import JournalStorage

from paretolens.errors import ConfigurationError, StoreError
from paretolens.search.journal_file import missing_records, open_storage, repair_tail, store_errors
from paretolens.search.ledger import ORPHANED, Ledger, record
from paretolens.search.lock import DRIVER_LOCK, DriverLock
from paretolens.search.outcome import Objective, TrialRecord
from paretolens.search.sampling import direction

__all__ = ["Journal", "read_records"]

_logger = logging.getLogger(__name__)
JOURNAL = "journal.log"


class Journal(Ledger):
    """Read and write access to the record of one study. Not for several threads.

    Args:
        folder: the study's folder; created if missing. Its name is the study's name.
        objectives: the axes of the search, in a fixed order.
        fingerprint: identity of the configuration; a record with another one is refused.

    Raises:
        StoreError: another driver works on the study, or its files cannot be read or written.
        ConfigurationError: the record belongs to another configuration.
        IntegrityError: the record is damaged in its middle.
    """

    def __init__(self, folder: Path, *, objectives: Sequence[Objective], fingerprint: str) -> None:
        self.folder = folder
        with store_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = DriverLock(folder / DRIVER_LOCK)
        self._lock.acquire()
        try:
            storage, study = self._open(objectives, fingerprint)
            super().__init__(objectives=objectives, storage=storage, study=study)
            self._end_orphans()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let another driver take over."""
        self._lock.release()

    def _open(self, objectives: Sequence[Objective], fingerprint: str) -> tuple[JournalStorage, int]:
        path, name = self.folder / JOURNAL, self.folder.name
        if copy := repair_tail(path):
            _logger.warning("%s ended in a damaged line, which was cut off; the file as it was: %s", path, copy)
        if lost := missing_records(path):
            _logger.warning(
                "%s has lost its last %d records since they were written: trials that ended in them are evaluated again; "
                "to keep them, stop and put a whole copy of the file back",
                path, lost,
            )  # fmt: skip
        (self.folder / f"{JOURNAL}.lock").unlink(missing_ok=True)  # left by a writer that was killed; we hold the driver's lock
        directions = [direction(objective) for objective in objectives]
        with store_errors(self.folder):
            storage = open_storage(path)
            known = {study.study_name: study for study in storage.get_all_studies()}
            if name not in known:
                study = storage.create_new_study(directions, name)
                storage.set_study_system_attr(study, "study:metric_names", [objective.name for objective in objectives])
                storage.set_study_user_attr(study, "fingerprint", fingerprint)
                return storage, study
            study = known[name]._study_id
            found = storage.get_study_user_attrs(study).get("fingerprint")
            if found is None and not storage.get_all_trials(study, deepcopy=False):  # killed between the first writes
                storage.set_study_user_attr(study, "fingerprint", fingerprint)
                found = fingerprint
        if found != fingerprint or known[name].directions != directions:
            raise ConfigurationError(
                f"study {name}: it exists with another configuration ({found}, now {fingerprint}); "
                "choose another name, or go back to the study's own configuration to resume it"
            )
        return storage, study

    def _ensure_ours(self) -> None:
        self._lock.ensure_held()

    def _writing(self) -> AbstractContextManager[None]:
        return store_errors(self.folder)

    def _end_orphans(self) -> None:
        for entry in self.records():
            if entry.fate is None:
                self._interrupt(entry.number, ORPHANED, seconds=0.0)


def read_records(folder: Path) -> list[TrialRecord]:
    """Read a study's record without becoming its driver, also while one is working. Oldest trial first.

    Raises:
        StoreError: the folder holds no journal.
    """
    path = folder / JOURNAL
    if not path.is_file():
        raise StoreError(f"study {folder.name}: {path} does not exist; run a search first, or check the study's name")
    storage = open_storage(path)
    studies = [study for study in storage.get_all_studies() if study.study_name == folder.name]
    return [record(trial) for study in studies for trial in storage.get_all_trials(study._study_id, deepcopy=False)]
