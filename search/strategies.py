"""Who proposes genomes and who may end a trial, by name. Plain names: what they are made of is imported elsewhere."""

from enum import StrEnum

__all__ = ["GENETIC", "Sampler", "Scheduler"]


class Sampler(StrEnum):
    """Who proposes genomes."""

    NSGA2 = "nsga2"
    """Genetic algorithm with non-dominated sorting and crowding distance."""
    NSGA3 = "nsga3"
    """The same with reference points instead of crowding: for four and more objectives."""
    TPE = "tpe"
    """Tree-structured Parzen estimator, multi-objective."""
    GP = "gp"
    """Gaussian processes and expected hypervolume improvement as Optuna has them; seconds per proposal."""
    RANDOM = "random"
    """Independent draws: the floor that the others must beat."""


GENETIC = frozenset({Sampler.NSGA2, Sampler.NSGA3})
"""Those that breed children of a population."""


class Scheduler(StrEnum):
    """Who may end a running trial."""

    NONE = "none"
    """Nobody: every trial trains to its end."""
    HALVING = "halving"
    """Asynchronous successive halving on several objectives."""
