"""What to type to export a trial, for those that the command will take."""

import re
import shlex
from collections.abc import Iterator

import pandas as pd

from paretolens.errors import ConfigurationError
from paretolens.mlflow.front import Front, rank_trials

__all__ = ["export_commands"]

_AMBIGUOUS = re.compile(r"@[0-9a-f]{6}$")  # what `study_labels` adds to a name that two studies share


def export_commands(front: Front) -> dict[str, str]:
    """Trial → the command that exports it, for the members of the front.

    `paretolens export` chooses among the members of a study's own front, by the usual objectives and without a filter: a member
    of another front that isn't one of those has no command.
    """
    members = set(front.members["trial"].astype(str)) if front.study else set()
    return {
        trial: f"paretolens export {shlex.quote(study)} --select {shlex.quote(own)}"
        for study, trial, own in _exportable(front)
        if trial in members
    }


def _exportable(front: Front) -> Iterator[tuple[str, str, str]]:
    """Study, name in this front and name in the study of every trial that can be exported."""
    record = front.study
    if record is None or not len(record.trials):
        return
    if record.run_id:
        yield from ((record.name, trial, trial) for trial in _own_front(record.trials))
        return
    for label, table in record.trials.groupby("study"):
        if not _AMBIGUOUS.search(str(label)):
            yield from ((str(label), trial, trial.removeprefix(f"{label}/")) for trial in _own_front(table))


def _own_front(trials: pd.DataFrame) -> list[str]:
    try:
        return [str(trial) for trial in rank_trials(trials.reset_index(drop=True)).members["trial"]]
    except ConfigurationError:  # an objective was never measured
        return []
