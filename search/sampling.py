"""From a space and a budget to Optuna's distributions and samplers."""

import warnings

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection

from paretolens.search.outcome import Objective
from paretolens.search.strategies import GENETIC, Sampler
from paretolens.spaces.knobs import Knob, Space

__all__ = ["GENETIC", "Sampler", "direction", "distributions", "make_sampler", "population_size"]


def population_size(*, trials: int, workers: int) -> int:
    """Population of a genetic sampler: a twelfth of the budget, between 6 and 50, and at least twice the number of workers.

    With a population as large as the budget every proposal is a random draw; docs/search.md shows this size beside 20 and 50
    (`python benchmarks/samplers.py`). Twice the concurrency keeps an asynchronous generation from being bred out of a handful of
    early finishers.
    """
    return max(2 * workers, min(max(round(trials / 12), 6), 50))


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Optuna's distribution of every knob, all of them unconditional."""
    return {knob.name: _distribution(knob) for knob in space.knobs}


def direction(objective: Objective) -> StudyDirection:
    """Optuna's word for an objective's direction."""
    return StudyDirection.MAXIMIZE if objective.maximise else StudyDirection.MINIMIZE


def make_sampler(kind: Sampler, *, population: int, seed: int) -> BaseSampler:
    """Build a sampler; `population` matters to the genetic ones and is the number of random trials before TPE or GP."""
    match kind:
        case Sampler.NSGA2:
            return NSGAIISampler(population_size=population, seed=seed)
        case Sampler.NSGA3:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # its interface may change; the lock pins the version
                return NSGAIIISampler(population_size=population, seed=seed)
        case Sampler.TPE:
            return TPESampler(n_startup_trials=population, multivariate=True, constant_liar=True, seed=seed)
        case Sampler.GP:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return GPSampler(n_startup_trials=population, seed=seed)
        case Sampler.RANDOM:
            return RandomSampler(seed=seed)


def _distribution(knob: Knob) -> BaseDistribution:
    if knob.low is None or knob.high is None:
        return CategoricalDistribution(knob.choices)
    return FloatDistribution(knob.low, knob.high, log=knob.log, step=knob.step)
