"""The samplers of (a) and (b) as a user of plain Optuna gets them, on a virtual clock.

Nothing of this project's proposer: twins are evaluated twice, and a sampler has the settings that its library gives it.
"""

import heapq
from collections.abc import Mapping

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler

from paretolens.search.outcome import Fate
from paretolens.search.replay import Ended, Row, Source
from paretolens.search.sampling import direction, distributions

__all__ = ["NSGA2_POPULATION", "simulate_stock", "stock_sampler"]

NSGA2_POPULATION = 50
"""NSGAIISampler's own."""


def stock_sampler(population: int | None, seed: int) -> BaseSampler:
    """NSGA-II with this population; None for TPE as Ray's OptunaSearch makes it where it is given no sampler."""
    return TPESampler(seed=seed) if population is None else NSGAIISampler(population_size=population, seed=seed)


def simulate_stock(
    source: Source, sampler: BaseSampler, *, workers: int, limits: Mapping[str, float], horizon: float, most: int
) -> list[Ended]:
    """Ask and tell until the horizon; trials in the order of their ends.

    Args:
        source: what answers.
        sampler: who proposes.
        workers: trials at once.
        limits: objective → the most that counts, told to the sampler as a violated constraint; empty for one that is not told.
        horizon: virtual seconds after which no trial begins.
        most: trials at most.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=[direction(one) for one in source.table.objectives], sampler=sampler)
    space, now, begun = distributions(source.table.space), 0.0, 0
    waiting: list[tuple[float, int, optuna.Trial, Row]] = []
    ended: list[Ended] = []
    while True:
        while len(waiting) < workers and begun < most and now < horizon:
            trial = study.ask(space)
            row = source.answer(source.table.space.repair(trial.params))
            heapq.heappush(waiting, (now + row.seconds, begun, trial, row))
            begun += 1
        if not waiting:
            return ended
        now, _, trial, row = heapq.heappop(waiting)
        for name, most_of_it in limits.items():
            trial.set_constraint(name, row.values[name] / most_of_it - 1.0)
        study.tell(trial, [row.values[one.name] for one in source.table.objectives])
        ended.append(Ended(seconds=now, fate=Fate.EVALUATED, row=row))
