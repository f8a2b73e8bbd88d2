"""Puts sampler, proposer and dispatcher together, the same for a search and for a replay."""

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from paretolens.search.dispatcher import Dispatcher, Limits
from paretolens.search.ledger import Ledger
from paretolens.search.observer import Observer
from paretolens.search.preselect import Preselector
from paretolens.search.proposer import Proposer
from paretolens.search.sampling import GENETIC, make_sampler, population_size
from paretolens.search.settings import EngineSettings
from paretolens.spaces.knobs import Genome, Space

__all__ = ["make_dispatcher"]

_logger = logging.getLogger(__name__)


def make_dispatcher(
    space: Space,
    settings: EngineSettings,
    journal: Ledger,
    observer: Observer,
    first: Sequence[Genome],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Dispatcher:
    """A dispatcher that goes on where the record ends.

    A resumed search draws from another seed than an unbroken one (the record's length is part of it), since the state of a
    sampler is not kept: equal proposals are promised of one worker within one session.

    Args:
        space: what may vary.
        settings: budget, sampler and fences.
        journal: the record.
        observer: told of every ending.
        first: genomes to begin with, unless the record has them.
        clock: seconds that only grow.
    """
    history = journal.trials()
    seed = int(np.random.SeedSequence([settings.seed, len(history)]).generate_state(1)[0])
    population = settings.population or population_size(trials=settings.trials, workers=settings.workers)
    assisted = settings.preselect and settings.sampler in GENETIC
    if settings.sampler in GENETIC and population >= settings.trials:
        effect = "nothing is bred, only pre-selection learns" if assisted else "the search is random"
        _logger.warning("the population of %d is not below the %d trials: %s", population, settings.trials, effect)
    proposer = Proposer(
        space=space,
        objectives=journal.objectives,
        sampler=make_sampler(settings.sampler, population=population, seed=seed),
        seed=seed,
        history=history,
        preselector=Preselector(space, seed=seed) if assisted else None,
    )
    limits = Limits(
        trials=settings.trials,
        workers=settings.workers,
        failures=settings.failures or max(5, settings.trials // 2),
        infeasible=max(50, 10 * settings.trials),
        attempts=settings.attempts,
        seconds=settings.time_limit_s,
    )
    return Dispatcher(journal=journal, proposer=proposer, observer=observer, limits=limits, first=first, clock=clock)
