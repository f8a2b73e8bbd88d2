"""Samplers and schedulers side by side: hypervolume after n trials and at equal time, over many seeds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paretolens.mlflow.hypervolume import hypervolume
from paretolens.search.outcome import Fate
from paretolens.search.replay.clock import Ended, simulate
from paretolens.search.replay.source import Source
from paretolens.search.replay.table import Row, Table
from paretolens.search.settings import EngineSettings

__all__ = ["Contender", "Scale", "Score", "compare"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One line of the comparison."""

    name: str
    """What it is called."""
    settings: EngineSettings
    """What it runs with; the seed is replaced."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a contender did, one row per seed. Hypervolumes are shares of the table's own front's."""

    name: str
    """The contender."""
    after: Floats
    """(seeds, marks) after the numbers of trials asked for; stopped trials count as trials."""
    at: Floats
    """(seeds, marks) when each share of the common time had passed."""
    seconds: Floats
    """(seeds,) virtual duration."""
    evaluated: Floats
    """(seeds,) trials that were trained to their end."""
    milliseconds: float
    """Real time per trial, proposing and bookkeeping."""


class Scale:
    """Hypervolume as a share of that of all rows.

    Objectives run from the best value in the table to a reference: for a complete table the 99th percentile (the worst hundredth
    are networks that did not train), for a recorded search the worst value.
    """

    def __init__(self, table: Table) -> None:
        self._signs = np.array([objective.sign for objective in table.objectives])
        self._names = [objective.name for objective in table.objectives]
        points = self._minimised(table.rows)
        self._low = points.min(axis=0)
        worst = np.percentile(points, 99, axis=0) if table.complete else points.max(axis=0)
        self._span = np.where(worst > self._low, worst - self._low, 1.0)
        self._whole = self._volume(table.rows)

    def share(self, rows: Sequence[Row]) -> float:
        """Of these rows; may exceed 1 where guesses do."""
        return self._volume(rows) / self._whole if rows and self._whole > 0 else 0.0

    def _volume(self, rows: Sequence[Row]) -> float:
        return hypervolume((self._minimised(rows) - self._low) / self._span, np.ones(len(self._names)))

    def _minimised(self, rows: Sequence[Row]) -> Floats:
        return np.asarray(self._signs * np.array([[row.values[name] for name in self._names] for row in rows]))


def compare(
    source: Source,
    contenders: Sequence[Contender],
    *,
    seeds: int,
    marks: Sequence[int],
    shares: Sequence[float] = (0.25, 0.5, 1.0),
    progress: Callable[[str], None] = lambda _: None,
) -> list[Score]:
    """Replay every contender with seeds 0, 1, …; the first one's mean duration is the common time."""
    scale, scores, common = Scale(source.table), [], 0.0
    for contender in contenders:
        began, runs = time.perf_counter(), []
        for seed in range(seeds):
            settings = replace(contender.settings, seed=seed)
            runs.append(simulate(source, settings=settings, first=source.table.first))
            progress(f"{contender.name}: {seed + 1} of {seeds}")
        spent = 1e3 * (time.perf_counter() - began) / sum(len(run) for run in runs)
        common = common or float(np.mean([run[-1].seconds for run in runs]))
        scores.append(_score(contender.name, runs, scale, marks=marks, times=[share * common for share in shares], spent=spent))
    return scores


def _score(
    name: str, runs: Sequence[Sequence[Ended]], scale: Scale, *, marks: Sequence[int], times: Sequence[float], spent: float
) -> Score:
    done = [[end for end in run if end.fate is Fate.EVALUATED] for run in runs]
    return Score(
        name=name,
        after=np.array([[scale.share(_rows(run[:mark])) for mark in marks] for run in runs]),
        at=np.array([[scale.share([end.row for end in run if end.seconds <= time]) for time in times] for run in done]),
        seconds=np.array([run[-1].seconds for run in runs]),
        evaluated=np.array([float(len(run)) for run in done]),
        milliseconds=spent,
    )


def _rows(run: Sequence[Ended]) -> list[Row]:
    return [end.row for end in run if end.fate is Fate.EVALUATED]
