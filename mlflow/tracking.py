"""Tracking of a search: the Protocol that the driver speaks to, and the tracker that keeps everything in MLflow.

The driver alone tracks; workers need no MLflow. No method raises into a search: once `start_study` has returned, a store that is
away is waited out by a thread of its own, from a spool on disk.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from paretolens.errors import StoreError
from paretolens.mlflow.clock import Clock
from paretolens.mlflow.courier import Courier
from paretolens.mlflow.events import DatasetInfo, Event, EventKind, Scalar, to_text
from paretolens.mlflow.names import (
    EPOCH_INDEX,
    EPOCH_PREFIX,
    PARENT_TAG,
    SYSTEM_PREFIX,
    RunKind,
    Tag,
    TrialState,
    finite,
    teacher_metrics,
)
from paretolens.mlflow.spool import Spool
from paretolens.mlflow.store import DEFAULT_EXPERIMENT, check_store, one_line, open_client, search_runs, without_password
from paretolens.mlflow.system import SystemSampler
from paretolens.mlflow.writer import RunWriter

__all__ = ["DatasetInfo", "MlflowTracker", "StudyInfo", "Tracker", "TrialState", "teacher_metrics"]

_log = logging.getLogger(__name__)

Files = Mapping[str, Sequence[Path]]
Tags = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StudyInfo:
    """What is known of a study before its first trial."""

    name: str
    """Name of the study: letters, digits, dots, dashes and underscores."""
    identity: str = ""
    """What makes it this study and no other of its name, such as a random number kept with it; the name where empty."""
    configuration: Mapping[str, Scalar] = field(default_factory=dict)
    """The whole configuration, flat (`search.trials`: 24); kept as parameters of the parent run."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Versions of code and data, environment, device, latency back end; written as `paretolens.<key>`."""
    description: str = ""
    """Markdown shown at the head of the parent run."""


class Tracker(Protocol):
    """Where a search keeps its record. Called from the driver only, from one thread at a time."""

    def start_study(self, study: StudyInfo) -> None:
        """Open the study, new or resumed; the trials that an earlier driver left running become `killed`.

        Raises:
            StoreError: the store can't be used. The only method that raises.
        """

    def log_study(self, metrics: Mapping[str, float], *, tags: Tags | None = None, step: int = 0) -> None:
        """Metrics and tags of the study itself: the teacher's figures (`teacher_metrics`), hypervolume over trials."""

    def trial_states(self) -> Mapping[str, str]:
        """State of every trial that the store has, by the trial's name; empty if the store can't be read right now."""

    def start_trial(
        self, trial: str, *, params: Mapping[str, Scalar], genome: str, tags: Tags | None = None, at: datetime | None = None
    ) -> None:
        """Open a trial with its active knobs; a trial that is known is taken up again, not doubled.

        `at` is when it began, now if None.
        """

    def log_epoch(self, trial: str, metrics: Mapping[str, float], *, step: int) -> None:
        """One point of each curve; steps count over all stages of the trial, and a step already logged is left out."""

    def log_trial(self, trial: str, metrics: Mapping[str, float]) -> None:
        """More metrics of a trial, whose state and times stay as they are."""

    def finish_trial(
        self, trial: str, state: TrialState, *, metrics: Mapping[str, float], reason: str = "", at: datetime | None = None
    ) -> None:
        """Close a trial with its final metrics (intervals as `<name>_low`, `<name>_high`); `at` is when, now if None."""

    def log_artifacts(self, trial: str | None, files: Files) -> None:
        """Files or folders, by folder within the run's artifacts (`""` = top); of the study if `trial` is None.

        They must stay where they are until the tracker is closed.
        """

    def log_datasets(self, datasets: Sequence[DatasetInfo]) -> None:
        """The data sets that the study works on."""

    def finish_study(self, state: TrialState, *, metrics: Mapping[str, float] | None = None, reason: str = "") -> None:
        """Close the study."""

    def flush(self, timeout_s: float) -> bool:
        """Wait until the store has everything; False if it hasn't within the time."""

    def close(self) -> None:
        """End tracking in bounded time; what couldn't be sent is kept and sent when the study is opened again."""


class MlflowTracker:
    """A parent run per study and a child run per trial, in any MLflow store.

    Every call appends one record to a spool in the study's folder and returns; a thread sends the records in order. A server that
    is down, slow or restarted costs the search nothing, a driver that is killed loses nothing.
    """

    def __init__(
        self,
        *,
        tracking_uri: str,
        spool: Path | None,
        experiment: str = DEFAULT_EXPERIMENT,
        artifact_root: str | None = None,
        close_timeout_s: float = 60.0,
        system_metrics_s: float | None = None,
    ) -> None:
        """Nothing is opened before `start_study`.

        Args:
            tracking_uri: A database or a server.
            spool: JSONL file in the study's folder for records that wait; None keeps them in memory.
            experiment: MLflow experiment of the runs.
            artifact_root: URI for files where the store is a database; beside a sqlite file by default.
            close_timeout_s: Longest wait in `close` while the store answers; a tenth of it while it doesn't.
            system_metrics_s: Seconds between samples of the driver's machine (CPU, memory, disk), kept in the parent run;
                None takes none.
        """
        self._uri, self._spool_path = tracking_uri, spool
        self._experiment, self._artifact_root = experiment, artifact_root
        self._close_timeout_s = close_timeout_s
        self._system_metrics_s = system_metrics_s
        self._sampler: SystemSampler | None = None
        self._spool: Spool | None = None
        self._courier: Courier | None = None
        self._writer: RunWriter | None = None
        self._finished = False
        self._clock = Clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close; a study that an exception ended is failed, or killed if it was an interrupt, and never stays running."""
        if error is not None and self._courier is not None and not self._finished:
            state = TrialState.FAILED if isinstance(error, Exception) else TrialState.KILLED
            self.finish_study(state, reason=one_line(error))
        self.close()

    @property
    def run_id(self) -> str:
        """Run id of the study; empty before `start_study`."""
        return self._writer.parent if self._writer else ""

    @property
    def waiting(self) -> int:
        """Records that the store hasn't taken yet."""
        return len(self._spool) if self._spool is not None else 0

    @property
    def trouble(self) -> str:
        """Why the store can't be reached right now; empty while it can."""
        return one_line(self._courier.trouble) if self._courier and self._courier.trouble else ""

    def start_study(self, study: StudyInfo) -> None:
        """Open the study, new or resumed; see `Tracker`.

        Raises:
            StoreError: the store can't be used.
        """
        self._uri = check_store(self._uri, experiment=self._experiment, artifact_root=self._artifact_root)
        self._writer = RunWriter(self._uri, experiment=self._experiment, artifact_root=self._artifact_root)
        opening = _study_event(study, self._clock.now())
        try:
            self._writer.apply(opening)
        except Exception as error:
            raise StoreError(f"tracking store {without_password(self._uri)}: {one_line(error)}") from error
        self._clock.not_before(self._writer.began_ms)
        self._spool = Spool(self._spool_path)
        if self._spool:
            _log.info("%d records of an earlier run are sent to the tracking store first", len(self._spool))
        self._courier = Courier(self._spool, self._writer)
        self._courier.start()
        self._finished = False
        self._put(
            Event(kind=EventKind.ORPHANS, time_ms=self._clock.now(), tags={Tag.REASON: "the driver ended before the trial did"})
        )
        if self._system_metrics_s is not None:
            self._sampler = SystemSampler(self.log_study, every_s=self._system_metrics_s)
            self._sampler.start()

    def log_study(self, metrics: Mapping[str, float], *, tags: Tags | None = None, step: int = 0) -> None:
        """Metrics and tags of the study itself; see `Tracker`."""
        self._report("", metrics, tags=tags, step=step)

    def trial_states(self) -> dict[str, str]:
        """State of every trial that the store has, by one read of it once what waits was sent; see `Tracker`."""
        if self._writer is None:
            return {}
        self.flush(self._close_timeout_s)
        try:
            client = open_client(self._uri)
            experiment = client.get_run(self.run_id).info.experiment_id
            runs = search_runs(client, experiment, f"tags.`{PARENT_TAG}` = '{self.run_id}'")
        except Exception as error:
            _log.warning("the tracking store can't be read (%s)", one_line(error))
            return {}
        return {run.data.tags.get(Tag.TRIAL, ""): run.data.tags.get(Tag.STATE, "") for run in runs}

    def start_trial(
        self, trial: str, *, params: Mapping[str, Scalar], genome: str, tags: Tags | None = None, at: datetime | None = None
    ) -> None:
        """Open a trial; see `Tracker`."""
        texts = {name: to_text(value) for name, value in params.items()}
        own = {Tag.GENOME: genome, **_own_tags(tags)}
        self._put(Event(kind=EventKind.TRIAL, time_ms=self._moment(at), trial=trial, params=texts, tags=own))

    def log_epoch(self, trial: str, metrics: Mapping[str, float], *, step: int) -> None:
        """One point of each curve; see `Tracker`."""
        curves = {name if name.startswith(SYSTEM_PREFIX) else f"{EPOCH_PREFIX}{name}": value for name, value in metrics.items()}
        self._report(trial, {**curves, EPOCH_INDEX: float(step)}, step=step)

    def log_trial(self, trial: str, metrics: Mapping[str, float]) -> None:
        """More metrics of a trial; see `Tracker`."""
        self._report(trial, metrics)

    def finish_trial(
        self, trial: str, state: TrialState, *, metrics: Mapping[str, float], reason: str = "", at: datetime | None = None
    ) -> None:
        """Close a trial; see `Tracker`."""
        self._finish(trial, state, metrics, reason, at)

    def log_artifacts(self, trial: str | None, files: Files) -> None:
        """Send files; see `Tracker`."""
        places = {folder: [str(Path(path).absolute()) for path in paths] for folder, paths in files.items() if paths}
        if places:
            self._put(Event(kind=EventKind.ARTIFACTS, time_ms=self._clock.now(), trial=trial or "", files=places))

    def log_datasets(self, datasets: Sequence[DatasetInfo]) -> None:
        """The data sets that the study works on; see `Tracker`."""
        self._put(Event(kind=EventKind.DATASETS, time_ms=self._clock.now(), datasets=[asdict(one) for one in datasets]))

    def finish_study(self, state: TrialState, *, metrics: Mapping[str, float] | None = None, reason: str = "") -> None:
        """Close the study; see `Tracker`."""
        self._finished = True
        self._finish("", state, metrics or {}, reason)

    def flush(self, timeout_s: float) -> bool:
        """Wait until the store has everything; False if it hasn't within the time."""
        return self._courier.wait_sent(timeout_s) if self._courier else True

    def close(self) -> None:
        """End tracking in bounded time; see `Tracker`."""
        if self._courier is None or self._spool is None:
            return
        if self._sampler is not None:
            self._sampler.stop()
        if not self._courier.wait_sent(self._close_timeout_s, patience_s=self._close_timeout_s / 10):
            place = f"{self._spool.path}; --resume sends them" if self._spool.path else "memory and lost now"
            _log.warning("%d tracking records couldn't be sent and are kept in %s", len(self._spool), place)
        self._courier.stop(timeout_s=5.0)
        self._spool.compact()
        self._courier = None

    def _finish(
        self, trial: str, state: TrialState, metrics: Mapping[str, float], reason: str, at: datetime | None = None
    ) -> None:
        tags: dict[str, str] = {Tag.STATE: str(state), **({Tag.REASON: reason} if reason else {})}
        self._report(trial, metrics, tags=tags, kind=EventKind.FINISH, state=str(state), at=at)

    def _report(
        self,
        trial: str,
        metrics: Mapping[str, float],
        *,
        tags: Tags | None = None,
        step: int = 0,
        kind: EventKind = EventKind.REPORT,
        state: str = "",
        at: datetime | None = None,
    ) -> None:
        kept, left_out = finite(metrics)
        texts = _own_tags(tags)
        if left_out:
            texts[Tag.NONFINITE] = ", ".join(left_out)
        time_ms = self._moment(at)
        self._put(Event(kind=kind, time_ms=time_ms, trial=trial, step=step, state=state, metrics=kept, tags=texts))

    def _moment(self, at: datetime | None) -> int:
        return self._clock.now() if at is None else int(at.timestamp() * 1000)

    def _put(self, event: Event) -> None:
        if self._spool is None:
            _log.warning("a tracking record was made before the study was started and is left out (%s)", event.kind)
            return
        self._spool.put(event)


def _study_event(study: StudyInfo, now_ms: int) -> Event:
    tags: dict[str, str] = {
        Tag.STUDY: study.name,
        Tag.IDENTITY: study.identity or study.name,
        Tag.KIND: RunKind.STUDY,
        Tag.STATE: TrialState.RUNNING,
        **_own_tags(study.tags),
    }
    if study.description:
        tags["mlflow.note.content"] = study.description
    params = {name: to_text(value) for name, value in study.configuration.items()}
    return Event(kind=EventKind.STUDY, time_ms=now_ms, tags=tags, params=params)


def _own_tags(tags: Tags | None) -> dict[str, str]:
    """Tags with our prefix where they have none of ours or MLflow's."""
    prefixes = ("paretolens.", "mlflow.")
    return {
        (str(key) if key.startswith(prefixes) else f"paretolens.{key}"): to_text(value) for key, value in (tags or {}).items()
    }
