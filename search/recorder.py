"""An observer that keeps every trial in the tracking store."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from paretolens.mlflow.names import TrialState
from paretolens.mlflow.tracking import Tracker
from paretolens.mlflow.twin import TWIN
from paretolens.models.record import MODEL_FILE, WEIGHTS_FILE
from paretolens.search.epochs import EpochLine
from paretolens.search.observer import Epoch, TrialStart
from paretolens.search.outcome import Fate, TrialRecord
from paretolens.spaces.knobs import Space

__all__ = ["Recorder", "trial_name"]

_STATES = {
    Fate.EVALUATED: TrialState.COMPLETE,
    Fate.EARLY_STOPPED: TrialState.PRUNED,
    Fate.INFEASIBLE: TrialState.INFEASIBLE,
    Fate.FAILED: TrialState.FAILED,
    Fate.INTERRUPTED: TrialState.KILLED,
}


def trial_name(number: int) -> str:
    """Name of a trial's run."""
    return f"trial-{number:04d}"


class Recorder:
    """Turns the search's events into runs: parameters of the active knobs, curves, final metrics, files."""

    def __init__(self, tracker: Tracker, space: Space) -> None:
        self._tracker = tracker
        self._space = space
        self._waiting: dict[int, TrialStart] = {}

    def catch_up(self, records: Iterable[TrialRecord], epochs: Iterable[EpochLine] = ()) -> int:
        """Bring the store to where the journal is; a driver may have been killed after it wrote one and before the other.

        So may a study that moves to another store. A trial whose run is missing or in another state is told again, with its own
        times and, as far as `epochs` has them, its curves. Where nothing differs it costs one read of the store. Returns how many
        trials were told again.
        """
        known, told = self._tracker.trial_states(), 0
        curves: dict[tuple[int, str], list[EpochLine]] = defaultdict(list)
        for line in epochs:
            curves[line.number, line.key].append(line)
        for entry in records:
            name = trial_name(entry.number)
            if entry.fate is None or known.get(name) == _STATES[entry.fate]:
                continue
            self._tracker.start_trial(name, params=self._space.active(entry.genome), genome=entry.key, at=entry.started)
            for line in curves[entry.number, entry.key]:
                self._tracker.log_epoch(name, line.metrics, step=line.step)
            self._end(entry, at=entry.finished)
            told += 1
        return told

    def trial_started(self, start: TrialStart) -> None:
        """Remember it: what only waits for a worker is no run that runs."""
        self._waiting[start.number] = start

    def trial_begun(self, number: int) -> None:
        """Open the run."""
        self._open(number)

    def trial_reported(self, epoch: Epoch) -> None:
        """One point of each curve."""
        self._open(epoch.number)
        self._tracker.log_epoch(trial_name(epoch.number), epoch.metrics, step=epoch.step)

    def trial_ended(self, entry: TrialRecord) -> None:
        """Final metrics, state and files."""
        self._open(entry.number)  # it may have waited to its end
        self._end(entry, at=None)

    def _open(self, number: int) -> None:
        if start := self._waiting.pop(number, None):
            params = self._space.active(start.genome)
            self._tracker.start_trial(trial_name(number), params=params, genome=start.key)

    def _end(self, entry: TrialRecord, *, at: datetime | None) -> None:
        if entry.fate is None:
            return
        name = trial_name(entry.number)
        metrics = {**entry.metrics, **entry.values, "seconds": entry.seconds}
        if entry.fate is Fate.EVALUATED:
            self._tracker.log_artifacts(name, _files(entry.details))
        self._tracker.finish_trial(name, _STATES[entry.fate], metrics=metrics, reason=entry.reason, at=at)


def _files(details: Mapping[str, Any]) -> dict[str, list[Path]]:
    folder = Path(str(details["folder"]))
    return {
        "": sorted(folder.glob("*.json")),  # what every stage and evaluator has to say
        "model": [folder / "model.onnx"],
        TWIN: [path for name in (MODEL_FILE, WEIGHTS_FILE) if (path := folder / "model" / name).exists()],
        "overlays": sorted((folder / "overlays").glob("*.png")),
    }
