"""Events applied to an MLflow store, each of them safe to apply twice."""

import json
import logging
import time
from pathlib import Path
from typing import Any

from paretolens.mlflow.events import Event, EventKind
from paretolens.mlflow.names import EPOCH_INDEX, PARENT_TAG, UPDATED, RunKind, Tag, TrialState
from paretolens.mlflow.store import DEFAULT_EXPERIMENT, ensure_experiment, open_client, search_runs

__all__ = ["RunWriter", "is_permanent"]

_log = logging.getLogger(__name__)

_REFUSED = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"}
_BATCH = 100  # MLflow takes at most 100 parameters or tags at once
_TAG_LENGTH = 5000
_PARAM_LENGTH = 6000


def is_permanent(error: Exception) -> bool:
    """Whether sending the same event again can't help, so that it must not hold up those behind it."""
    return getattr(error, "error_code", None) in _REFUSED or isinstance(error, FileNotFoundError | TypeError | ValueError)


class RunWriter:
    """One study's runs in one store. Not thread-safe: it belongs to the thread that sends."""

    def __init__(self, tracking_uri: str, *, experiment: str = DEFAULT_EXPERIMENT, artifact_root: str | None = None) -> None:
        self._uri, self._experiment_name, self._artifact_root = tracking_uri, experiment, artifact_root
        self._client: Any = None
        self._study: Event | None = None
        self._experiment = ""
        self.parent = ""
        """Run id of the study; empty until the store has answered."""
        self.began_ms = 0
        """When the study began, in ms since the epoch; 0 until the store has answered."""
        self._children: dict[str, str] = {}
        self._running: set[str] = set()
        self._last_step: dict[str, int] = {}
        self._unsure = False
        self._stamp = 0

    def apply(self, event: Event) -> None:
        """Bring the store to where the event says it is.

        Raises:
            Exception: whatever the store raises; `is_permanent` tells whether trying again makes sense.
        """
        if event.kind is EventKind.STUDY:
            self._study = event
        try:
            if not self.parent:
                self._open_study()
            if event.kind is not EventKind.STUDY:
                self._dispatch(event)
        except Exception as error:
            # An answer that was lost may belong to a run that was created: look for it before creating another.
            self._unsure = self._unsure or not is_permanent(error)
            raise

    def _dispatch(self, event: Event) -> None:
        if self._unsure:
            self._load_children()
            self._unsure = False
        if event.kind is EventKind.ORPHANS:
            self._close_orphans(event)
        elif event.kind is EventKind.TRIAL:
            self._start_child(event)
        elif event.kind is EventKind.ARTIFACTS:
            self._send_files(event)
        elif event.kind is EventKind.DATASETS:
            self._client.log_inputs(self._run(event), datasets=[_dataset(one) for one in event.datasets])
        else:
            self._report(event)

    def _run(self, event: Event) -> str:
        if not event.trial:
            return self.parent
        if event.trial not in self._children:
            self._start_child(Event(kind=EventKind.TRIAL, time_ms=event.time_ms, trial=event.trial))
        return self._children[event.trial]

    def _open_study(self) -> None:
        assert self._study is not None, "the first event names the study"
        if self._client is None:
            self._client = open_client(self._uri, create=True)
        event = self._study
        self._experiment = ensure_experiment(self._client, self._uri, self._experiment_name, artifact_root=self._artifact_root)
        runs = self._search(
            f"tags.`{Tag.KIND}` = '{RunKind.STUDY}' and tags.`{Tag.STUDY}` = '{event.tags[Tag.STUDY]}'"
            f" and tags.`{Tag.IDENTITY}` = '{event.tags[Tag.IDENTITY]}'"
        )
        if runs:
            run, known = runs[0].info.run_id, runs[0].data.params
            self.began_ms = runs[0].info.start_time or 0
            self._take_up(runs[0], event.tags)
        else:
            name = event.tags[Tag.STUDY]
            tags = {**event.tags, Tag.STAMPED: "true"}  # only where every child will bear the stamp, so from the start
            run = self._client.create_run(self._experiment, start_time=event.time_ms, tags=tags, run_name=name)
            run, known = run.info.run_id, {}
        self._send(run, event, known=known)
        self.parent = run
        if runs:
            self._load_children()

    def _load_children(self) -> None:
        for run in self._search(f"tags.`{PARENT_TAG}` = '{self.parent}'"):
            trial = run.data.tags.get(Tag.TRIAL, "")
            self._children[trial] = run.info.run_id
            if run.info.status == "RUNNING":
                self._running.add(trial)
            self._last_step[trial] = int(run.data.metrics.get(EPOCH_INDEX, -1))

    def _search(self, condition: str) -> list[Any]:
        return search_runs(self._client, self._experiment, condition)

    def _start_child(self, event: Event) -> None:
        run, known = self._children.get(event.trial), {}
        if run is None:
            assert self._study is not None
            tags = {
                PARENT_TAG: self.parent,
                Tag.STUDY: self._study.tags[Tag.STUDY],
                Tag.KIND: RunKind.TRIAL,
                Tag.TRIAL: event.trial,
                Tag.STATE: TrialState.RUNNING,
                **event.tags,
            }
            created = self._client.create_run(self._experiment, start_time=event.time_ms, tags=tags, run_name=event.trial)
            run = self._children[event.trial] = created.info.run_id
        else:
            found = self._client.get_run(run)
            known = found.data.params
            self._take_up(found, event.tags)
        self._running.add(event.trial)
        self._send(run, event, known=known, with_tags=False)

    def _take_up(self, run: Any, tags: dict[str, str]) -> None:
        """A run that is known runs again, and why it ended before no longer holds."""
        self._client.update_run(run.info.run_id, status="RUNNING")
        reason: dict[str, str] = {Tag.REASON: ""} if run.data.tags.get(Tag.REASON) else {}
        self._set_tags(run.info.run_id, {**tags, **reason, Tag.STATE: TrialState.RUNNING})

    def _report(self, event: Event) -> None:
        run = self._run(event)
        if EPOCH_INDEX in event.metrics:
            if event.step <= self._last_step.get(event.trial, -1):
                return  # a trial that went back to its checkpoint tells these steps again
            self._send(run, event)
            self._last_step[event.trial] = event.step
            return
        ended = event.kind is EventKind.FINISH or event.trial not in self._running
        self._send(run, event, stamped=bool(event.trial) and ended)
        if event.kind is EventKind.FINISH:
            self._client.set_terminated(run, status=TrialState(event.state).mlflow_status, end_time=event.time_ms)
            self._running.discard(event.trial)

    def _close_orphans(self, event: Event) -> None:
        for trial in sorted(self._running):
            run = self._children[trial]
            self._set_tags(run, {Tag.STATE: TrialState.KILLED, **event.tags}, stamped=True)
            self._client.set_terminated(run, status=TrialState.KILLED.mlflow_status, end_time=event.time_ms)
            self._running.discard(trial)

    def _send_files(self, event: Event) -> None:
        run, missing = self._run(event), []
        for folder, paths in event.files.items():
            for path in map(Path, paths):
                if path.is_dir():
                    self._client.log_artifacts(run, str(path), artifact_path="/".join(filter(None, (folder, path.name))))
                elif path.is_file():
                    self._client.log_artifact(run, str(path), artifact_path=folder or None)
                else:
                    missing.append(str(path))
        if missing:
            raise FileNotFoundError(f"gone before it could be sent: {', '.join(missing)}")

    def _set_tags(self, run: str, tags: dict[str, str], *, stamped: bool = False) -> None:
        self._send(run, Event(kind=EventKind.REPORT, time_ms=0, tags=tags), stamped=stamped)

    def _send(
        self, run: str, event: Event, *, known: dict[str, str] | None = None, with_tags: bool = True, stamped: bool = False
    ) -> None:
        """One batch; further ones only where MLflow's limits on a batch ask for it. A stamp says that an ended run changed."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(name, value, event.time_ms, event.step) for name, value in event.metrics.items()]
        if stamped:
            self._stamp = max(time.time_ns() // 1_000_000, self._stamp + 1)
            metrics.append(Metric(UPDATED, float(self._stamp), self._stamp, 0))
        params = [Param(name, text[:_PARAM_LENGTH]) for name, text in event.params.items() if name not in (known or {})]
        tags = [RunTag(name, text[:_TAG_LENGTH]) for name, text in event.tags.items()] if with_tags else []
        for start in range(0, max(len(metrics), len(params), len(tags)), _BATCH):
            part = slice(start, start + _BATCH)
            self._client.log_batch(run, metrics=metrics[part], params=params[part], tags=tags[part])


def _dataset(one: dict[str, str]) -> Any:
    """MLflow's form of a data set; logging it twice leaves it there once."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": one["source"]})
    content = Dataset(
        name=one["name"], digest=one["digest"], source_type="local", source=source, profile=one.get("profile") or None
    )
    return DatasetInput(content, [InputTag("mlflow.data.context", one["context"])])
