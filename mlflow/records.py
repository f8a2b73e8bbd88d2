"""A study read back out of MLflow as a table: one row per trial."""

import difflib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from paretolens.errors import StoreError
from paretolens.mlflow.names import EPOCH_PREFIX, PARENT_TAG, TEACHER_PREFIX, RunKind, Tag
from paretolens.mlflow.store import DEFAULT_EXPERIMENT, one_line, open_client, resolve_uri, search_runs, without_password

__all__ = ["StudyRecord", "list_studies", "read_study"]

_log = logging.getLogger(__name__)

# MLflow keeps infinities as the largest double; anything near it was none of our measurements.
_INFINITE = 1e300
_TRIAL_TAGS = (Tag.TRIAL, Tag.STATE, Tag.GENOME, Tag.REASON, Tag.PARETO, Tag.KNEE, Tag.RANK)


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """One study as the store holds it."""

    name: str
    """Name of the study."""
    run_id: str
    """Run id of the parent."""
    experiment_id: str
    """Experiment of the runs."""
    tracking_uri: str
    """The store, absolute."""
    trials: pd.DataFrame
    """One row per child run: `run_id`, `trial`, `state`, `genome`, `reason`, `pareto`, `knee`, `rank` (tags as they are, text),
    `started_ms`, `run_seconds`, one column per final metric by its own name, one per knob as `params.<knob>`. NaN = not there."""
    metrics: Mapping[str, float]
    """Metrics of the study itself."""
    params: Mapping[str, str]
    """The configuration."""
    tags: Mapping[str, str]
    """Tags of the study."""

    @property
    def teacher(self) -> dict[str, float]:
        """The teacher's figures by the trials' metric names."""
        return {
            name.removeprefix(TEACHER_PREFIX): value for name, value in self.metrics.items() if name.startswith(TEACHER_PREFIX)
        }


def list_studies(tracking_uri: str, *, experiment: str = DEFAULT_EXPERIMENT) -> list[str]:
    """Names of the studies in a store, the newest first.

    Raises:
        StoreError: the store can't be read.
    """
    client = open_client(tracking_uri)
    number = _experiment(client, experiment, tracking_uri)
    runs = _search(client, number, f"tags.`{Tag.KIND}` = '{RunKind.STUDY}'") if number else []
    return list(dict.fromkeys(run.data.tags[Tag.STUDY] for run in runs))


def read_study(study: str, *, tracking_uri: str, experiment: str = DEFAULT_EXPERIMENT) -> StudyRecord:
    """Everything the store has of a study, by its name or the run id of its parent.

    Raises:
        StoreError: the store can't be read, there is no such study (those there are get listed), or two of that name.
    """
    uri = resolve_uri(tracking_uri)
    client = open_client(uri)
    number = _experiment(client, experiment, uri)
    parents = _search(client, number, f"tags.`{Tag.KIND}` = '{RunKind.STUDY}'") if number else []
    parent = _choose(parents, study, uri)
    children = _search(client, number, f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    return StudyRecord(
        name=parent.data.tags[Tag.STUDY],
        run_id=parent.info.run_id,
        experiment_id=number,
        tracking_uri=uri,
        trials=_table(children),
        metrics={name: _measured(value) for name, value in parent.data.metrics.items()},
        params=dict(parent.data.params),
        tags=dict(parent.data.tags),
    )


def _choose(parents: list[Any], study: str, uri: str) -> Any:
    found = [run for run in parents if study in (run.data.tags[Tag.STUDY], run.info.run_id)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(run.info.run_id for run in found)
        raise StoreError(
            f"study {study!r}: {len(found)} studies in {without_password(uri)} have that name; name one by its run id ({ids})"
        )
    names = list(dict.fromkeys(run.data.tags[Tag.STUDY] for run in parents))
    near = difflib.get_close_matches(study, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    known = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "none yet"
    raise StoreError(f"study {study!r}: not in {without_password(uri)}; {hint}there are: {known}")


def _experiment(client: Any, name: str, uri: str) -> str:
    try:
        found = client.get_experiment_by_name(name)
    except Exception as error:
        raise StoreError(f"tracking store {without_password(uri)}: can't be read ({one_line(error)})") from error
    return str(found.experiment_id) if found is not None and found.lifecycle_stage == "active" else ""


def _search(client: Any, experiment: str, condition: str) -> list[Any]:
    try:
        return search_runs(client, experiment, condition)
    except Exception as error:
        raise StoreError(f"tracking store: can't be read ({one_line(error)})") from error


def _table(runs: list[Any]) -> pd.DataFrame:
    rows = [_row(run) for run in runs]
    frame = pd.DataFrame(rows)
    for name in ("run_id", "started_ms", "run_seconds", *(tag.removeprefix("paretolens.") for tag in _TRIAL_TAGS)):
        if name not in frame:
            frame[name] = None
    if len(frame):
        frame = frame.sort_values(["started_ms", "trial"], kind="stable").reset_index(drop=True)
    return frame


def _row(run: Any) -> dict[str, Any]:
    tags, info = run.data.tags, run.info
    row: dict[str, Any] = {"run_id": info.run_id}
    row |= {tag.removeprefix("paretolens."): tags.get(tag, "") for tag in _TRIAL_TAGS}
    row["started_ms"] = info.start_time
    row["run_seconds"] = (info.end_time - info.start_time) / 1000 if info.end_time else float("nan")
    taken = set(row)
    for name, value in run.data.metrics.items():
        if not name.startswith(EPOCH_PREFIX) and name not in taken:
            row[name] = _measured(value)
    row |= {f"params.{name}": _parsed(text) for name, text in run.data.params.items()}
    return row


def _measured(value: float) -> float:
    return float(value) if abs(value) < _INFINITE else float("nan")


def _parsed(text: str) -> Any:
    """A parameter as the value it was, where JSON can tell."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text
