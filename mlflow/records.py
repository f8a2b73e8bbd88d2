"""A study read back out of MLflow as a table: one row per trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from paretolens.errors import ConfigurationError, StoreError
from paretolens.mlflow.children import read_children
from paretolens.mlflow.names import TEACHER_PREFIX, RunKind, Tag
from paretolens.mlflow.runs import FIXED_COLUMNS, Row, measured
from paretolens.mlflow.store import (
    DEFAULT_EXPERIMENT,
    cache_folder,
    find_experiment,
    one_line,
    open_client,
    resolve_uri,
    search_runs,
    without_password,
)
from paretolens.naming import did_you_mean

__all__ = ["StudyRecord", "find_study", "merge_studies", "read_study", "study_labels"]


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
    """One row per child run: `run_id`, `study`, `trial`, `state`, `genome`, `reason`, `pareto`, `knee`, `rank` (tags as they are,
    text), `started_ms`, `run_seconds`, one column per final metric by its own name, one per knob as `params.<knob>`. NaN = not
    there."""
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


def read_study(
    study: str,
    *,
    tracking_uri: str,
    experiment: str = DEFAULT_EXPERIMENT,
    cache: Path | None = None,
    refresh: bool = False,
) -> StudyRecord:
    """Everything the store has of a study, by its name or the run id of its parent.

    Args:
        study: Name or run id.
        tracking_uri: Any store.
        experiment: MLflow experiment of the study.
        cache: Folder that keeps the ended runs of large studies between reads; by default `cache/tracking` beside a sqlite file,
            and none for other stores.
        refresh: Read everything again, for runs that another program changed after their end.

    Raises:
        StoreError: the store can't be read, there is no such study (those there are get listed), or two of that name.
    """
    uri = resolve_uri(tracking_uri)
    client = open_client(uri)
    number, parent = _find(client, study, uri, experiment)
    rows = read_children(client, parent, folder=cache or cache_folder(uri), refresh=refresh)
    return StudyRecord(
        name=parent.data.tags[Tag.STUDY],
        run_id=parent.info.run_id,
        experiment_id=number,
        tracking_uri=uri,
        trials=_table(rows),
        metrics={name: measured(value) for name, value in parent.data.metrics.items()},
        params=dict(parent.data.params),
        tags=dict(parent.data.tags),
    )


def find_study(study: str, *, tracking_uri: str, experiment: str = DEFAULT_EXPERIMENT) -> tuple[str, str]:
    """Experiment and run id of a study's parent run, by its name or the run id; its trials are not read.

    Raises:
        StoreError: as `read_study`.
    """
    uri = resolve_uri(tracking_uri)
    number, parent = _find(open_client(uri), study, uri, experiment)
    return number, str(parent.info.run_id)


def merge_studies(records: Sequence[StudyRecord]) -> StudyRecord:
    """Several studies as one: trials named `study/trial`, and of metrics, parameters and tags what they have in common.

    The result has no run of its own (`run_id` is empty).

    Raises:
        ConfigurationError: none, or one of them twice.
    """
    if not records:
        raise ConfigurationError("at least one study is needed")
    twice = [record.name for number, record in enumerate(records) if record.run_id in {r.run_id for r in records[:number]}]
    if twice:
        raise ConfigurationError(f"study {twice[0]}: named twice; name each once, for instance another study to hold it against")
    labels = study_labels(records)
    tables = [
        record.trials.assign(study=label, trial=label + "/" + record.trials["trial"].astype(str))
        for record, label in zip(records, labels, strict=True)
    ]
    first = records[0]
    return StudyRecord(
        name=" + ".join(labels),
        run_id="",
        experiment_id="",
        tracking_uri=first.tracking_uri if len({record.tracking_uri for record in records}) == 1 else "",
        trials=pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True).copy(),  # in one piece
        metrics=_common([record.metrics for record in records]),
        params=_common([record.params for record in records]),
        tags=_common([record.tags for record in records]),
    )


def study_labels(records: Sequence[StudyRecord]) -> list[str]:
    """Names that tell studies apart: their own, with the start of the run id where two share one."""
    names = [record.name for record in records]
    return [record.name if names.count(record.name) == 1 else f"{record.name}@{record.run_id[:6]}" for record in records]


def _common(parts: "Sequence[Mapping[str, Any]]") -> dict[str, Any]:
    return {key: value for key, value in parts[0].items() if all(part.get(key) == value for part in parts[1:])}


def _find(client: Any, study: str, uri: str, experiment: str) -> tuple[str, Any]:
    number = find_experiment(client, uri, experiment)
    parents = _search(client, number, f"tags.`{Tag.KIND}` = '{RunKind.STUDY}'") if number else []
    return number, _choose(parents, study, uri)


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
    listing = "the MLflow UI lists all ('paretolens ui')"
    raise StoreError(
        f"study {study!r}: not in {without_password(uri)}{did_you_mean(study, names, listing=listing, said='there are')}"
    )


def _search(client: Any, experiment: str, condition: str) -> list[Any]:
    try:
        return search_runs(client, experiment, condition)
    except Exception as error:
        raise StoreError(f"tracking store: can't be read ({one_line(error)})") from error


def _table(rows: list[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    missing = [name for name in FIXED_COLUMNS if name not in frame]
    frame = frame.assign(**dict.fromkeys(missing))
    if len(frame):
        frame = frame.sort_values(["started_ms", "trial"], kind="stable").reset_index(drop=True)
    return frame
