"""The Pareto front, pulled out of MLflow: `front("my-study")`.

Needs pandas and MLflow only, neither Ray nor torch, so that it runs wherever a store can be reached.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from paretolens.errors import StoreError
from paretolens.mlflow.hypervolume import hypervolume
from paretolens.mlflow.knee import knee_point
from paretolens.mlflow.names import Tag, TrialState
from paretolens.mlflow.objectives import DEFAULT_OBJECTIVES, Direction, check_objectives, minimised
from paretolens.mlflow.pareto import crowding, non_dominated, ranks
from paretolens.mlflow.records import StudyRecord, read_study
from paretolens.mlflow.store import DEFAULT_EXPERIMENT, one_line, open_client, without_password
from paretolens.mlflow.ties import ties
from paretolens.mlflow.where import matches

__all__ = ["Front", "front", "rank_trials", "tag_front"]


@dataclass(frozen=True, kw_only=True)
class Front:
    """The trials of a study that count, ranked."""

    objectives: Mapping[str, Direction]
    """Metric → direction."""
    trials: pd.DataFrame
    """Every complete trial with finite objectives that the filter keeps: its columns in the store, with `rank` (0 = front),
    `crowding`, `pareto`, `knee` (bool) and `tied_with` (trials that would dominate it within the intervals, comma-separated)."""
    excluded: pd.DataFrame
    """The other trials, with `why`."""
    study: StudyRecord | None = None
    """The study they are from, with the teacher's figures; None for a table of one's own."""

    @property
    def members(self) -> pd.DataFrame:
        """The front, best first by the first objective."""
        first, direction = next(iter(self.objectives.items()))
        return self.trials[self.trials["pareto"].astype(bool)].sort_values(first, ascending=direction == "min", kind="stable")

    @property
    def knee(self) -> "pd.Series | None":
        """The row of the knee; None on an empty front."""
        rows = self.trials[self.trials["knee"].astype(bool)]
        return rows.iloc[0] if len(rows) else None

    def hypervolume(self, reference: Mapping[str, float] | None = None) -> float:
        """Share of the box from the ideal point to the reference that the front dominates, 0…1.

        The reference is the worst value of each objective among the trials by default, which suits one study; give a common one
        (and mind that the ideal point is the study's own) to follow a study over time.
        """
        points = minimised(self.trials, self.objectives)
        if not len(points):
            return 0.0
        signs = np.array([-1.0 if direction == "max" else 1.0 for direction in self.objectives.values()])
        ideal, corner = points.min(axis=0), points.max(axis=0)
        if reference is not None:
            corner = signs * np.array([reference[name] for name in self.objectives], dtype=np.float64)
        box = float(np.prod(np.maximum(corner - ideal, 0.0)))
        return hypervolume(points[non_dominated(points)], corner) / box if box > 0 else 0.0


def front(
    study: str,
    objectives: Mapping[str, str] = DEFAULT_OBJECTIVES,
    where: str | None = None,
    *,
    tracking_uri: str,
    experiment: str = DEFAULT_EXPERIMENT,
) -> Front:
    """The front of a study.

    Args:
        study: Name of the study, or the run id of its parent run.
        objectives: Logged metrics and their directions, any number of them.
        where: Filter applied before sorting, as in `latency_ms < 5 and eps > .6`.
        tracking_uri: Any store.
        experiment: MLflow experiment of the study.

    Raises:
        StoreError: no such store or study.
        ConfigurationError: an unknown metric, direction or filter.
    """
    record = read_study(study, tracking_uri=tracking_uri, experiment=experiment)
    found = rank_trials(record.trials, objectives, where)
    return dataclasses.replace(found, study=record)


def rank_trials(trials: pd.DataFrame, objectives: Mapping[str, str] = DEFAULT_OBJECTIVES, where: str | None = None) -> Front:
    """Rank a table of trials with a column `trial`, a column per objective and, unless all are complete, `state`.

    Only complete trials whose objectives are all there and finite count: a missing metric is never best. Trials with equal
    objectives are on the front once, by the first of them.

    Raises:
        ConfigurationError: an unknown metric, direction or filter.
    """
    measured = [str(name) for name in trials.columns if pd.api.types.is_numeric_dtype(trials[name])]
    complete = trials["state"] == TrialState.COMPLETE if "state" in trials else pd.Series(True, index=trials.index)
    checked = check_objectives(objectives, columns=measured if complete.any() else None)
    missing = [name for name in checked if name not in trials]
    values = minimised(trials.assign(**dict.fromkeys(missing, np.nan)), checked)
    finite = np.isfinite(values)
    why = pd.Series("", index=trials.index, dtype=object)
    if where is not None:
        why[~matches(trials, where)] = "left out by the filter"
    for column, name in enumerate(checked):
        why[~finite[:, column]] = f"no finite {name}"
    if "state" in trials:
        why[~complete] = trials["state"][~complete]
    kept = trials[why == ""].reset_index(drop=True)
    left_out = trials[why != ""].assign(why=why[why != ""])
    return Front(objectives=checked, trials=_ranked(kept.assign(**dict.fromkeys(missing, np.nan)), checked), excluded=left_out)


def _ranked(trials: pd.DataFrame, objectives: Mapping[str, Direction]) -> pd.DataFrame:
    values = minimised(trials, objectives)
    rank, on_front = ranks(values), non_dominated(values)
    distance = np.zeros(len(trials))
    for level in np.unique(rank):
        distance[rank == level] = crowding(values[rank == level])
    knee = np.zeros(len(trials), dtype=bool)
    if on_front.any():
        knee[knee_point(values)] = True
    tied = np.full(len(trials), "", dtype=object)
    rows = np.flatnonzero(on_front)
    names = trials["trial"].astype(str).to_numpy()
    for row, others in zip(rows, ties(trials.iloc[rows], objectives), strict=True):
        tied[row] = ", ".join(names[rows[other]] for other in others)
    return trials.assign(rank=rank, crowding=distance, pareto=on_front, knee=knee, tied_with=tied)


def tag_front(found: Front) -> int:
    """Mark the runs of a study read by `front`, so that the MLflow UI can filter on the front; returns how many runs changed.

    Sets `paretolens.rank` on every ranked trial, `paretolens.pareto` and `paretolens.knee` to "true" on members, and back to
    "false" on runs that an earlier front had marked.

    Raises:
        StoreError: the store can't be written.
        ValueError: the front is not from a study.
    """
    if found.study is None:
        raise ValueError("only a front read from a store can be tagged")
    from mlflow.entities import RunTag

    client = open_client(found.study.tracking_uri)
    changed = 0
    try:
        for run_id, tags in _changed_tags(found, found.study.trials).items():
            client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            changed += 1
        client.set_tag(found.study.run_id, Tag.OBJECTIVES, ", ".join(f"{name}:{way}" for name, way in found.objectives.items()))
    except Exception as error:
        raise StoreError(f"tracking store {without_password(found.study.tracking_uri)}: {one_line(error)}") from error
    return changed


def _changed_tags(found: Front, stored: pd.DataFrame) -> dict[str, dict[str, str]]:
    unmarked = {str(Tag.PARETO): "false", str(Tag.KNEE): "false", str(Tag.RANK): ""}
    wanted = {
        row["run_id"]: {Tag.PARETO: _flag(row["pareto"]), Tag.KNEE: _flag(row["knee"]), Tag.RANK: str(row["rank"])}
        for row in found.trials.to_dict("records")
    }
    changes: dict[str, dict[str, str]] = {}
    for row in stored.to_dict("records"):
        now = {key: row[key.removeprefix("paretolens.")] or default for key, default in unmarked.items()}
        marks = {str(key): value for key, value in wanted.get(row["run_id"], unmarked).items()}
        tags = {key: value for key, value in marks.items() if value != now[key]}
        if tags:
            changes[str(row["run_id"])] = tags
    return changes


def _flag(value: object) -> str:
    return "true" if value else "false"
