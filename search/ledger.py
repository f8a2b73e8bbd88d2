"""The trials of a study in an Optuna storage: begun once, ended once, whatever happens in between.

Every trial is written twice: once when it is proposed, whole and in one step, and once when it has ended, its state last. So a
process that dies between any two writes leaves at most trials that are still RUNNING. In memory it serves replays; `Journal`
keeps it in a file.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from paretolens.search.outcome import Fate, Objective, TrialOutcome, TrialRecord
from paretolens.search.sampling import direction
from paretolens.spaces.knobs import Genome

__all__ = ["LOST", "NODE_LOST", "ORPHANED", "Ledger", "record"]

ORPHANED = "the driver died while it ran"
LOST = "the workers were lost while it ran"
NODE_LOST = "the machine it ran on was lost"
_ATTEMPTS = {ORPHANED: 20, LOST: 3, NODE_LOST: 8}
"""How often a genome may be running when the search goes down, for it may be what brings it down."""
_EMPTY = TrialOutcome(values={})


class Ledger:
    """Read and write access to the trials of one study. Not for several threads.

    Args:
        objectives: the axes of the search, in a fixed order.
        storage: where the trials are kept.
        study: Optuna's number of the study in that storage.
    """

    def __init__(self, *, objectives: Sequence[Objective], storage: BaseStorage, study: int) -> None:
        self.objectives = tuple(objectives)
        self._storage = storage
        self._study = study

    @staticmethod
    def in_memory(objectives: Sequence[Objective]) -> "Ledger":
        """An empty one that ends with the process."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = InMemoryStorage()
        study = storage.create_new_study([direction(objective) for objective in objectives], "memory")
        return Ledger(objectives=objectives, storage=storage, study=study)

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
        self._ensure_ours()
        with self._writing():
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
        self._ensure_ours()
        identity = self._identity(number)
        values, filled = self._values(fate, outcome)
        note = {
            "fate": fate.value,
            **outcome.plain(),
            "reason": reason,
            "again": again,
            "seconds": round(seconds, 4),
            "filled": filled,
        }
        with self._writing():
            self._storage.set_trial_user_attr(identity, "ending", note)
            for name, violation in constraints(fate, outcome).items():
                self._storage.set_trial_system_attr(identity, f"constraints:{name}", violation)
            state = TrialState.FAIL if values is None else TrialState.COMPLETE
            self._storage.set_trial_state_values(identity, state, values)
            return record(self._storage.get_trial(identity))

    def lose(self, number: int, *, reason: str, seconds: float) -> TrialRecord:
        """End a trial whose workers were lost (LOST, NODE_LOST); its genome is tried again unless that has happened too often."""
        return self._interrupt(number, reason, seconds=seconds)

    def trial(self, number: int) -> FrozenTrial:
        """One trial as Optuna keeps it."""
        with self._writing():
            return self._storage.get_trial(self._identity(number))

    def trials(self) -> list[FrozenTrial]:
        """All trials as Optuna keeps them, oldest first; do not modify."""
        with self._writing():
            return self._storage.get_all_trials(self._study, deepcopy=False)

    def records(self) -> list[TrialRecord]:
        """All trials, oldest first."""
        return [record(trial) for trial in self.trials()]

    def _interrupt(self, number: int, reason: str, *, seconds: float) -> TrialRecord:
        key = self.trial(number).user_attrs["key"]
        before = sum(entry.key == key and entry.reason == reason for entry in self.records())
        again = before + 1 < _ATTEMPTS[reason]
        return self.end(number, Fate.INTERRUPTED, reason=reason, again=again, seconds=seconds)

    def _identity(self, number: int) -> int:
        with self._writing():
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

    def _ensure_ours(self) -> None:
        """Before every change: whether it may still be made."""

    def _writing(self) -> AbstractContextManager[None]:
        """Around every access to the storage: where its errors get a name."""
        return nullcontext()


def constraints(fate: Fate, outcome: TrialOutcome) -> dict[str, float]:
    """Optuna's constraints of an ending: above 0 means violated."""
    if fate is Fate.EARLY_STOPPED:
        return {"early_stopped": 1.0}
    return dict(outcome.violations) if fate is Fate.INFEASIBLE else {}


def record(trial: FrozenTrial) -> TrialRecord:
    """A trial as Optuna keeps it → our record of it."""
    note: dict[str, Any] = trial.user_attrs.get("ending", {}) if trial.state.is_finished() else {}
    seconds = note.get("seconds", 0.0)
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
        seconds=seconds,
        started=trial.datetime_start,
        finished=_end(trial, seconds),
    )


def _end(trial: FrozenTrial, seconds: float) -> datetime | None:
    """When a trial ended; a wall clock that was set back meanwhile does not make it end before it began."""
    began, ended = trial.datetime_start, trial.datetime_complete
    return ended if began is None or ended is None else max(ended, began + timedelta(seconds=seconds))
