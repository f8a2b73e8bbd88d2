"""The Pareto front, pulled out of MLflow: `front("my-study")`.

Needs pandas and MLflow only, neither Ray nor torch, so that it runs wherever a store can be reached.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from paretolens.errors import StoreError
from paretolens.mlflow.attainment import attained_over_time
from paretolens.mlflow.confidence import confidence_of
from paretolens.mlflow.hypervolume import hypervolume, hypervolume_history
from paretolens.mlflow.knee import knee_point
from paretolens.mlflow.names import UPDATED, Tag, TrialState, interval_names
from paretolens.mlflow.objectives import DEFAULT_OBJECTIVES, Direction, check_objectives
from paretolens.mlflow.paired import Samples, read_samples
from paretolens.mlflow.pareto import Floats, crowding, minimised, non_dominated, ranks
from paretolens.mlflow.records import StudyRecord, merge_studies, read_study
from paretolens.mlflow.store import DEFAULT_EXPERIMENT, current_uri, one_line, open_client, without_password
from paretolens.mlflow.ties import ties
from paretolens.mlflow.where import matches

__all__ = ["FILTERED", "Front", "front", "front_of", "rank_trials", "tag_front"]

FILTERED = "left out by the filter"
"""Why a complete trial is not in a filtered front, in `Front.excluded`."""
_MOST_PAIRED = 100
"""Members above which ties are judged by intervals: the samples of each would have to be fetched."""


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
    where: str | None = None
    """The filter that was applied before sorting; None for none."""
    notes: tuple[str, ...] = ()
    """What the reader should know of how it came about, for instance samples that are gone; empty if nothing."""

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

    def to_frame(self, *, every: bool = False) -> pd.DataFrame:
        """The members as a table of their own, best first; with `every`, all trials, those left out with the reason as `why`."""
        if not every:
            return self.members.reset_index(drop=True)
        tables = [table for table in (self.trials.assign(why=""), self.excluded) if len(table)]
        return pd.concat(tables, ignore_index=True) if tables else self.trials.assign(why="")

    def hypervolume(self, reference: Mapping[str, float] | None = None) -> float:
        """Share of the box from the ideal point to the reference that the front dominates, 0…1.

        The reference is the worst value of each objective among the trials by default, which suits one study; give a common one
        (and mind that the ideal point is the study's own) to follow a study over time.
        """
        points = minimised(self.trials, self.objectives)
        corner, box = self._box(points, reference)
        return hypervolume(points[non_dominated(points)], corner) / box if box > 0 else 0.0

    def history(self, reference: Mapping[str, float] | None = None) -> pd.DataFrame:
        """How the search came on, a row per trial in the order they ended: `trial`, `ended_ms`, and after it `hypervolume` (0…1,
        as above) and `attained`, the share of the final front's members that were found by then, 0…1.
        """
        ended = _ended(self.trials)
        order = np.argsort(ended, kind="stable")
        points = minimised(self.trials, self.objectives)
        corner, box = self._box(points, reference)
        volumes = hypervolume_history(points[order], corner) / box if box > 0 else np.zeros(len(points))
        names = self.trials["trial"].to_numpy()[order]
        attained = attained_over_time(points[order], points[non_dominated(points)])
        return pd.DataFrame({"trial": names, "ended_ms": ended[order], "hypervolume": volumes, "attained": attained})

    def _box(self, points: Floats, reference: Mapping[str, float] | None) -> tuple[Floats, float]:
        """The corner of the box, minimised, and its volume; 0 without trials, or if they are all equal in an objective."""
        if not len(points):
            return np.zeros(len(self.objectives)), 0.0
        signs = np.array([-1.0 if direction == "max" else 1.0 for direction in self.objectives.values()])
        corner = points.max(axis=0)
        if reference is not None:
            corner = signs * np.array([reference[name] for name in self.objectives], dtype=np.float64)
        return corner, float(np.prod(np.maximum(corner - points.min(axis=0), 0.0)))


def _ended(trials: pd.DataFrame) -> Floats:
    """When each trial ended; its place in the table where times aren't known."""
    if "started_ms" not in trials or "run_seconds" not in trials:
        return np.arange(len(trials), dtype=np.float64)
    return np.asarray(trials["started_ms"].astype(float) + 1000 * trials["run_seconds"].astype(float), dtype=np.float64)


def front(
    study: "str | Sequence[str] | pd.DataFrame",
    objectives: Mapping[str, str] = DEFAULT_OBJECTIVES,
    where: str | None = None,
    *,
    tracking_uri: str | None = None,
    experiment: str = DEFAULT_EXPERIMENT,
    cache: Path | None = None,
    refresh: bool = False,
    paired: bool = True,
) -> Front:
    """The front of a study, of several together, or of a table.

    Args:
        study: Name of the study, or the run id of its parent run; several of them for their common front, with trials named
            `study/trial` (whether their figures can be compared is for the caller to know, or see `comparable.differences`); or
            a table of trials, as `rank_trials` takes it.
        objectives: Logged metrics and their directions, any number of them.
        where: Filter applied before sorting, as in `latency_ms < 5 and eps > .6`.
        tracking_uri: Any store; by default the one MLflow is set to.
        experiment: MLflow experiment of the study.
        cache: Folder that keeps ended runs between reads; see `records.read_study`.
        refresh: Read every run again.
        paired: Judge ties by the samples that trials kept (`<objective>_samples.json`), where there are any.

    Raises:
        StoreError: no such store or study.
        ConfigurationError: an unknown metric, direction or filter.
    """
    if isinstance(study, pd.DataFrame):
        return rank_trials(study, objectives, where)
    uri = tracking_uri or current_uri()
    names = [study] if isinstance(study, str) else list(study)
    records = [read_study(name, tracking_uri=uri, experiment=experiment, cache=cache, refresh=refresh) for name in names]
    return front_of(records[0] if len(records) == 1 else merge_studies(records), objectives, where, paired=paired)


def front_of(
    record: StudyRecord, objectives: Mapping[str, str] = DEFAULT_OBJECTIVES, where: str | None = None, *, paired: bool = True
) -> Front:
    """The front of a study that was read already.

    Raises:
        ConfigurationError: an unknown metric, direction or filter.
    """
    found = dataclasses.replace(rank_trials(record.trials, objectives, where), study=record)
    return _judge_ties(found, record) if paired else found


def _judge_ties(found: Front, record: StudyRecord) -> Front:
    """The same front, its ties by paired comparison where the members' samples are there."""
    rows = np.flatnonzero(found.trials["pareto"])
    uncertain = [name for name in found.objectives if interval_names(name)[0] in found.trials]
    if not uncertain or not 2 <= len(rows) <= _MOST_PAIRED:
        return found
    if not record.tracking_uri:
        note = "the studies lie in different stores: ties are judged by the intervals of each model alone"
        return found if record.run_id else dataclasses.replace(found, notes=(note,))
    run_ids = found.trials["run_id"].iloc[rows].tolist()
    samples, notes = read_samples(open_client(record.tracking_uri), run_ids, uncertain)
    levels = {name: confidence_of(record.params, name) for name in uncertain}
    tied = _tied(found.trials, rows, found.objectives, samples, levels)
    return dataclasses.replace(found, trials=found.trials.assign(tied_with=tied), notes=tuple(notes))


def rank_trials(trials: pd.DataFrame, objectives: Mapping[str, str] = DEFAULT_OBJECTIVES, where: str | None = None) -> Front:
    """Rank a table of trials with a column per objective and, unless all are complete, `state`; without a column `trial` its
    index names them.

    Only complete trials whose objectives are all there and finite count: a missing metric is never best. Trials with equal
    objectives are on the front once, by the first of them.

    Raises:
        ConfigurationError: an unknown metric, direction or filter.
    """
    if "trial" not in trials:
        trials = trials.assign(trial=trials.index.astype(str))
    measured = [str(name) for name in trials.columns if pd.api.types.is_numeric_dtype(trials[name])]
    complete = trials["state"] == TrialState.COMPLETE if "state" in trials else pd.Series(True, index=trials.index)
    checked = check_objectives(objectives, columns=measured if complete.any() else None)
    missing = [name for name in checked if name not in trials]
    values = minimised(trials.assign(**dict.fromkeys(missing, np.nan)), checked)
    finite = np.isfinite(values)
    why = pd.Series("", index=trials.index, dtype=object)
    if where is not None:
        why[~matches(trials, where)] = FILTERED
    for column, name in enumerate(checked):
        why[~finite[:, column]] = f"no finite {name}"
    if "state" in trials:
        why[~complete] = trials["state"][~complete]
    kept = trials[why == ""].reset_index(drop=True)
    left_out = trials[why != ""].assign(why=why[why != ""])
    ranked = _ranked(kept.assign(**dict.fromkeys(missing, np.nan)), checked)
    return Front(objectives=checked, trials=ranked, excluded=left_out, where=where)


def _ranked(trials: pd.DataFrame, objectives: Mapping[str, Direction]) -> pd.DataFrame:
    values = minimised(trials, objectives)
    rank, on_front = ranks(values), non_dominated(values)
    distance = np.zeros(len(trials))
    for level in np.unique(rank):
        distance[rank == level] = crowding(values[rank == level])
    knee = np.zeros(len(trials), dtype=bool)
    if on_front.any():
        knee[knee_point(values)] = True
    tied = _tied(trials, np.flatnonzero(on_front), objectives)
    return trials.assign(rank=rank, crowding=distance, pareto=on_front, knee=knee, tied_with=tied)


def _tied(
    trials: pd.DataFrame,
    rows: "np.ndarray[tuple[int], np.dtype[np.intp]]",
    objectives: Mapping[str, Direction],
    samples: Mapping[str, Sequence[Samples | None]] | None = None,
    levels: Mapping[str, float] | None = None,
) -> list[str]:
    """`tied_with` of every trial, given the rows of the members, their samples and the levels of their intervals."""
    tied, names = [""] * len(trials), trials["trial"].astype(str).to_numpy()
    for row, others in zip(rows, ties(trials.iloc[rows], objectives, samples, levels), strict=True):
        tied[row] = ", ".join(names[rows[other]] for other in others)
    return tied


def tag_front(found: Front) -> int:
    """Mark the runs of a study read by `front`, so that the MLflow UI can filter on the front; returns how many runs changed.

    Sets `paretolens.rank` on every ranked trial, `paretolens.pareto` and `paretolens.knee` to "true" on members, and back to
    "false" on runs that an earlier front had marked.

    Raises:
        StoreError: the store can't be written.
        ValueError: the front is not from a study.
    """
    if found.study is None or not found.study.run_id:
        raise ValueError("only the front of one study, read from a store, can be tagged")
    from mlflow.entities import Metric, RunTag

    client = open_client(found.study.tracking_uri)
    changed = 0
    try:
        for run_id, tags in _changed_tags(found, found.study.trials).items():
            now = time.time_ns() // 1_000_000
            stamp = Metric(UPDATED, float(now), now, 0)
            client.log_batch(run_id, metrics=[stamp], tags=[RunTag(key, value) for key, value in tags.items()])
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
