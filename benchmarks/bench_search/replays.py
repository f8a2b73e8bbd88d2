"""Seeds by replay: what each arm's sampler finds on a table when a trial takes what that arm's trials were measured to take.

The clock is virtual. On it run the engine's own proposer, dispatcher and early stopping, and for (a) and (b) plain Optuna
(stock.py). Two tables: a study of this space that was recorded before (other genomes are guessed by Gaussian processes), and
NAS-Bench-201 cifar10 (all 15,625 networks are known; there is no limit and there are no epochs in it, so that arms differ in
their samplers and in what a trial takes).
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from random import Random
from typing import Any

import numpy as np

from bench_search.stock import simulate_stock, stock_sampler
from paretolens.search.bounds import violations
from paretolens.search.halving import HalvingSettings
from paretolens.search.outcome import Fate
from paretolens.search.replay import Bounds, Ended, Row, Source, Table, simulate
from paretolens.search.replay.compare import Scale
from paretolens.search.sampling import Sampler
from paretolens.search.settings import EngineSettings, Scheduler

__all__ = ["Arm", "Outcome", "limit_that_leaves", "replay"]

_MOST_TRIALS = 240
"""More are not replayed: the arm had long reached what it is asked for."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """How an arm searches, and what its trials were measured to take."""

    name: str
    sampler: Sampler
    seconds: float
    """Mean seconds that a trained trial keeps one worker busy."""
    refused: float | None
    """Seconds until a genome over the limit is ended; None where it is trained all the same."""
    preselect: bool = False
    stock: bool = False
    """Whether plain Optuna proposes: NSGA-II of `population`, or, where that is None, TPE as Ray's OptunaSearch makes it."""
    population: int | None = None
    """Of NSGA-II; None is the engine's own, fitted to the budget."""
    workers: int = 2
    told: bool = True
    """Whether the sampler learns that a genome was over the limit."""
    halving: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One arm on one table, one entry per seed."""

    shares: tuple[float, ...]
    """Hypervolume, as a share of the table's own, when the reference arm's time was over."""
    reached: tuple[float, ...]
    """When the reference arm's final hypervolume (of the same seed) was reached, as a share of its time; inf if it was not."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One search on the virtual clock."""

    table: Table
    arm: Arm
    limits: Mapping[str, float]
    horizon: float
    trials: int
    seed: int


class _Priced(Source):
    """Answers whose durations have the arm's mean."""

    def __init__(self, table: Table, seconds: float) -> None:
        super().__init__(table)
        self._factor = seconds / float(np.mean([row.seconds for row in table.rows]))

    def answer(self, genome: Any) -> Row:
        """The table's answer, its times scaled."""
        row = super().answer(genome)
        reports = tuple(replace(one, seconds=one.seconds * self._factor) for one in row.reports)
        return replace(row, seconds=row.seconds * self._factor, reports=reports)


def replay(
    table: Table, arms: Sequence[Arm], *, reference: Arm, limits: Mapping[str, float], budget: int, seeds: int,
    progress: Callable[[int, int], None],
) -> dict[str, Outcome]:  # fmt: skip
    """Run every arm for as long as the reference arm takes for its budget.

    Args:
        table: what answers.
        arms: whom to compare.
        reference: whose final hypervolume is to be reached.
        limits: objective → the most that counts; in an arm that does not know it, what is over it is left out afterwards.
        budget: trials of the reference arm.
        seeds: repetitions.
        progress: takes searches done and in all.
    """
    horizon = budget * reference.seconds / reference.workers
    scale = Scale(replace(table, rows=tuple(row for row in table.rows if not violations(limits, row.values))))
    jobs = [_job(table, arm, limits, horizon, seed) for arm in (reference, *arms) for seed in range(seeds)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = []
        for done, run in enumerate(pool.map(_run, jobs), 1):
            runs.append([end for end in run if end.seconds <= horizon])
            progress(done, len(jobs))
    by_arm = [runs[start : start + seeds] for start in range(0, len(runs), seeds)]
    goals = [_share(scale, run) for run in by_arm[0]]
    return {
        arm.name: Outcome(
            shares=tuple(_share(scale, run) for run in found),
            reached=tuple(_when(scale, run, goal) / horizon for run, goal in zip(found, goals, strict=True)),
        )
        for arm, found in zip(arms, by_arm[1:], strict=True)
    }


def limit_that_leaves(source: Source, objective: str, share: float, *, genomes: int = 600) -> float:
    """The limit that this share of random genomes of the table's space keeps to, as the table answers for them.

    Not a quantile of the table's rows: those are what a search chose, and lie elsewhere than what a replay draws.
    """
    random, space = Random(0), source.table.space
    return float(np.quantile([source.answer(space.sample(random)).values[objective] for _ in range(genomes)], share))


def _job(table: Table, arm: Arm, limits: Mapping[str, float], horizon: float, seed: int) -> _Job:
    trials = min(_MOST_TRIALS, max(2, round(horizon * arm.workers / arm.seconds)))
    return _Job(table=table, arm=arm, limits=limits, horizon=horizon, trials=trials, seed=seed)


def _run(job: _Job) -> list[Ended]:
    arm, source = job.arm, _Priced(job.table, job.arm.seconds)
    ended = _stock(job, source) if arm.stock else _engine(job, source)
    return [end for end in ended if end.fate is Fate.EVALUATED and not violations(job.limits, end.row.values)]


def _stock(job: _Job, source: Source) -> list[Ended]:
    arm, limits = job.arm, job.limits if job.arm.told else {}
    sampler = stock_sampler(arm.population, job.seed)
    return simulate_stock(source, sampler, workers=arm.workers, limits=limits, horizon=job.horizon, most=job.trials)


def _engine(job: _Job, source: Source) -> list[Ended]:
    arm = job.arm
    settings = EngineSettings(
        trials=job.trials, workers=arm.workers, sampler=arm.sampler, preselect=arm.preselect, population=arm.population,
        scheduler=Scheduler.HALVING if arm.halving else Scheduler.NONE, halving=HalvingSettings(), seed=job.seed,
        time_limit_s=job.horizon,
    )  # fmt: skip
    bounds = Bounds(limits=job.limits, seconds=arm.refused) if arm.told else Bounds()
    return simulate(source, settings=settings, bounds=bounds)


def _share(scale: Scale, run: Sequence[Ended]) -> float:
    return scale.share([end.row for end in run])


def _when(scale: Scale, run: Sequence[Ended], goal: float) -> float:
    """The first time at which a run's hypervolume reaches the goal, by bisection; inf if it never does."""
    low, high = 0, len(run)
    if not run or _share(scale, run) < goal - 1e-9:
        return float("inf")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _share(scale, run[: middle + 1]) >= goal - 1e-9 else (middle + 1, high)
    return run[low].seconds
