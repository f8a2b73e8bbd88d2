"""A tracker that keeps everything in memory: what the tests of a search look at instead of a store."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from paretolens.mlflow.events import DatasetInfo, Scalar
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.tracking import Files, StudyInfo, Tags

__all__ = ["MemoryTracker", "TrackedRun"]


@dataclass
class TrackedRun:
    """One run as a store would hold it."""

    params: dict[str, Scalar] = field(default_factory=dict)
    genome: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    curves: dict[int, dict[str, float]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    files: dict[str, list[Path]] = field(default_factory=dict)
    state: TrialState = TrialState.RUNNING
    reason: str = ""
    started: datetime | None = None
    ended: datetime | None = None


class MemoryTracker:
    """The rules of `Tracker` without a store: non-finite metrics left out, known trials taken up again, orphans killed."""

    def __init__(self) -> None:
        self.study: StudyInfo | None = None
        self.run = TrackedRun()
        self.trials: dict[str, TrackedRun] = {}
        self.closed = False
        self.datasets: tuple[DatasetInfo, ...] = ()

    def start_study(self, study: StudyInfo) -> None:
        """Open the study; trials still running become `killed`."""
        self.study, self.closed = study, False
        self.run.state = TrialState.RUNNING
        for run in self.trials.values():
            if run.state is TrialState.RUNNING:
                run.state, run.reason = TrialState.KILLED, "the driver ended before the trial did"

    def log_study(self, metrics: Mapping[str, float], *, tags: Tags | None = None, step: int = 0) -> None:
        """Keep metrics and tags of the study; `step` orders them as a store would."""
        self.run.curves.setdefault(step, {}).update(_finite(metrics))
        self.run.metrics.update(_finite(metrics))
        self.run.tags.update(tags or {})

    def trial_states(self) -> dict[str, str]:
        """State of every trial."""
        return {trial: str(run.state) for trial, run in self.trials.items()}

    def start_trial(
        self, trial: str, *, params: Mapping[str, Scalar], genome: str, tags: Tags | None = None, at: datetime | None = None
    ) -> None:
        """Open a trial, or take it up again."""
        run = self.trials.setdefault(trial, TrackedRun())
        run.params.update(params)
        run.tags.update(tags or {})
        run.genome, run.state, run.reason = genome, TrialState.RUNNING, ""
        run.started = at

    def log_epoch(self, trial: str, metrics: Mapping[str, float], *, step: int) -> None:
        """One point of each curve; a step that is known is left out."""
        curves = self._of(trial).curves
        if step > max(curves, default=-1):
            curves[step] = _finite(metrics)

    def log_trial(self, trial: str, metrics: Mapping[str, float]) -> None:
        """More metrics of a trial, whatever its state."""
        self._of(trial).metrics.update(_finite(metrics))

    def finish_trial(
        self, trial: str, state: TrialState, *, metrics: Mapping[str, float], reason: str = "", at: datetime | None = None
    ) -> None:
        """Close a trial."""
        run = self._of(trial)
        run.metrics.update(_finite(metrics))
        run.state, run.reason, run.ended = state, reason, at

    def log_artifacts(self, trial: str | None, files: Files) -> None:
        """Keep the paths."""
        run = self.run if trial is None else self._of(trial)
        for folder, paths in files.items():
            run.files.setdefault(folder, []).extend(map(Path, paths))

    def log_datasets(self, datasets: Sequence[DatasetInfo]) -> None:
        """Keep what the study was fed."""
        self.datasets = tuple(datasets)

    def finish_study(self, state: TrialState, *, metrics: Mapping[str, float] | None = None, reason: str = "") -> None:
        """Close the study."""
        self.run.metrics.update(_finite(metrics or {}))
        self.run.state, self.run.reason = state, reason

    def flush(self, timeout_s: float) -> bool:
        """Nothing ever waits."""
        return timeout_s >= 0

    def close(self) -> None:
        """Note that tracking ended."""
        self.closed = True

    def _of(self, trial: str) -> TrackedRun:
        return self.trials.setdefault(trial, TrackedRun())


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
