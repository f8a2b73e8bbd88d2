"""The study's record: an Optuna journal of which one driver at a time is the writer.

Every trial is written twice: once when it is proposed, whole and in one line, and once when it has ended, its state last. So a
process that dies between any two writes leaves at most trials that are still RUNNING; opening the journal again ends those as
INTERRUPTED and their genomes are owed another attempt. Any Optuna tool can read the file.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from paretolens.errors import ConfigurationError, StoreError
from paretolens.search.journal_file import open_storage, repair_tail, store_errors
from paretolens.search.lock import DriverLock
from paretolens.search.outcome import Fate, Objective, TrialOutcome, TrialRecord
from paretolens.search.sampling import direction
from paretolens.spaces.knobs import Genome

__all__ = ["LOST", "ORPHANED", "Journal", "read_records"]

_logger = logging.getLogger(__name__)
JOURNAL = "journal.log"
_LOCK = "driver.lock"
ORPHANED = "the driver died while it ran"
LOST = "the workers were lost while it ran"
_ATTEMPTS = {ORPHANED: 20, LOST: 3}
"""How often a genome may be running when the search goes down, for it may be what brings it down."""
_EMPTY = TrialOutcome(values={})


class Journal:
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
        self.objectives = tuple(objectives)
        with store_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = DriverLock(folder / _LOCK)
        self._lock.acquire()
        try:
            self._open(fingerprint)
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

    def begin(self, genome: Genome, distributions: Mapping[str, BaseDistribution], *, key: str, system: Mapping[str, Any]) -> int:
        """Write down that a genome is about to be evaluated and return the trial's number.

        Args:
            genome: the repaired genome.
            distributions: Optuna's distribution of every gene.
            key: name of the genome's active part.
            system: what the sampler wants to be kept with the trial (its generation).
        """
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(genome),
            distributions=dict(distributions),
            user_attrs={"genome": dict(genome), "key": key},
            system_attrs=dict(system),
        )
        with store_errors(self.folder):
            identity = self._storage.create_new_trial(self._study, template_trial=trial)
            return self._storage.get_trial(identity).number

    def end(
        self,
        number: int,
        fate: Fate,
        outcome: TrialOutcome = _EMPTY,
        *,
        reason: str = "",
        again: bool = False,
        seconds: float = 0.0,
    ) -> TrialRecord:
        """Write down how a trial ended, exactly once, and return its record.

        A violated trial needs a value for every objective in Optuna; those that were not measured are filled with the worst value
        on record, listed in the record as `filled`, and never read: such a trial can enter no front.
        """
        identity = self._identity(number)
        values, filled = self._values(fate, outcome)
        note = {
            "fate": fate.value,
            "values": dict(outcome.values),
            "metrics": dict(outcome.metrics),
            "details": dict(outcome.details),
            "violations": dict(outcome.violations),
            "reason": reason,
            "again": again,
            "seconds": round(seconds, 4),
            "filled": filled,
        }
        with store_errors(self.folder):
            self._storage.set_trial_user_attr(identity, "ending", note)
            for name, violation in constraints(fate, outcome).items():
                self._storage.set_trial_system_attr(identity, f"constraints:{name}", violation)
            state = TrialState.FAIL if values is None else TrialState.COMPLETE
            self._storage.set_trial_state_values(identity, state, values)
            return record(self._storage.get_trial(identity))

    def lose(self, number: int, *, seconds: float) -> TrialRecord:
        """End a trial whose workers were lost; its genome is tried again unless that has happened too often."""
        return self._interrupt(number, LOST, seconds=seconds)

    def trials(self) -> list[FrozenTrial]:
        """All trials as Optuna keeps them, oldest first; do not modify."""
        with store_errors(self.folder):
            return self._storage.get_all_trials(self._study, deepcopy=False)

    def records(self) -> list[TrialRecord]:
        """All trials, oldest first."""
        return [record(trial) for trial in self.trials()]

    def _open(self, fingerprint: str) -> None:
        path = self.folder / JOURNAL
        if copy := repair_tail(path):
            _logger.warning("%s ended in a damaged line, which was cut off; the file as it was: %s", path, copy)
        (self.folder / f"{JOURNAL}.lock").unlink(missing_ok=True)  # left by a writer that was killed; we hold the driver's lock
        name = self.folder.name
        directions = [direction(objective) for objective in self.objectives]
        with store_errors(self.folder):
            self._storage = open_storage(path)
            known = {study.study_name: study for study in self._storage.get_all_studies()}
            if name not in known:
                self._study = self._storage.create_new_study(directions, name)
                self._storage.set_study_system_attr(self._study, "study:metric_names", [o.name for o in self.objectives])
                self._storage.set_study_user_attr(self._study, "fingerprint", fingerprint)
                return
            self._study = known[name]._study_id
            found = self._storage.get_study_user_attrs(self._study).get("fingerprint")
            if found is None and not self.trials():  # killed between the first writes
                self._storage.set_study_user_attr(self._study, "fingerprint", fingerprint)
                found = fingerprint
        if found != fingerprint or known[name].directions != directions:
            raise ConfigurationError(
                f"study {name}: it exists with another configuration ({found}, now {fingerprint}); "
                "choose another name, or go back to the study's own configuration to resume it"
            )

    def _end_orphans(self) -> None:
        for entry in self.records():
            if entry.fate is None:
                self._interrupt(entry.number, ORPHANED, seconds=0.0)

    def _interrupt(self, number: int, reason: str, *, seconds: float) -> TrialRecord:
        key = self.trials()[number].user_attrs["key"]
        before = sum(entry.key == key and entry.reason == reason for entry in self.records())
        again = before + 1 < _ATTEMPTS[reason]
        return self.end(number, Fate.INTERRUPTED, reason=reason, again=again, seconds=seconds)

    def _identity(self, number: int) -> int:
        with store_errors(self.folder):
            return self._storage.get_trial_id_from_study_id_trial_number(self._study, number)

    def _values(self, fate: Fate, outcome: TrialOutcome) -> tuple[list[float] | None, list[str]]:
        if fate in (Fate.FAILED, Fate.INTERRUPTED):
            return None, []
        missing = [objective.name for objective in self.objectives if objective.name not in outcome.values]
        return [
            self._worst(index) if objective.name in missing else float(outcome.values[objective.name])
            for index, objective in enumerate(self.objectives)
        ], missing

    def _worst(self, index: int) -> float:
        known = [trial.values[index] for trial in self.trials() if trial.state is TrialState.COMPLETE]
        pick = min if self.objectives[index].maximise else max
        return float(pick(known, default=0.0))


def constraints(fate: Fate, outcome: TrialOutcome) -> dict[str, float]:
    """Optuna's constraints of an ending: above 0 means violated."""
    if fate is Fate.EARLY_STOPPED:
        return {"early_stopped": 1.0}
    return dict(outcome.violations) if fate is Fate.INFEASIBLE else {}


def record(trial: FrozenTrial) -> TrialRecord:
    """A trial as Optuna keeps it → our record of it."""
    note: dict[str, Any] = trial.user_attrs.get("ending", {}) if trial.state.is_finished() else {}
    return TrialRecord(
        number=trial.number,
        key=trial.user_attrs["key"],
        genome=trial.user_attrs["genome"],
        fate=Fate(note["fate"]) if note else None,
        values=note.get("values", {}),
        metrics=note.get("metrics", {}),
        details=note.get("details", {}),
        violations=note.get("violations", {}),
        reason=note.get("reason", ""),
        again=note.get("again", False),
        seconds=note.get("seconds", 0.0),
        started=trial.datetime_start,
        finished=trial.datetime_complete,
    )


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
