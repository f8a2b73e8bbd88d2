"""Proposes genomes that are valid, new and not being evaluated already. Knows neither Ray nor files.

The sampler works on a study in memory (an ask takes about 2 ms there and 40-70 ms on a journal), so this class also serves
replays and benchmarks; what was evaluated in earlier sessions is poured in at the start.
"""

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from paretolens.search.outcome import Objective, genome_key
from paretolens.search.preselect import Preselector
from paretolens.search.sampling import direction, distributions
from paretolens.spaces.knobs import Genome, Knob, Space, Value, nearest_value

__all__ = ["Proposal", "Proposer"]

_REASKS = 25
_DRAWS = 200
_MAX_ENUMERATED = 50_000


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A genome to evaluate."""

    genome: Genome
    """Repaired and complete."""
    key: str
    """`genome_key` of its active part."""
    system: Mapping[str, Any]
    """What the sampler wants to be kept with the trial."""
    trial: Trial
    """The sampler's own handle."""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    values: tuple[float, ...]
    violations: Mapping[str, float]


class Proposer:
    """Ask for genomes, tell their values.

    A proposal that repeats an evaluated genome (the same active part) is answered from the record, one that repeats a failed or
    running genome is dropped, and the sampler is asked again, a bounded number of times. Then genomes near evaluated ones,
    anywhere, and finally all there are, are tried, so that a search never stalls.

    Args:
        space: the knobs and the rules between them.
        objectives: the axes of the search, in the order of the values told.
        sampler: the source of fresh genomes.
        seed: of the genomes that replace repeated proposals.
        history: trials of earlier sessions, with their values and the sampler's attributes.
        preselector: chooses among the sampler's proposal and children of its own; None takes every proposal as it is.
    """

    def __init__(
        self,
        *,
        space: Space,
        objectives: Sequence[Objective],
        sampler: BaseSampler,
        seed: int,
        history: Iterable[FrozenTrial] = (),
        preselector: Preselector | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._distributions = distributions(space)
        self._random = random.Random(seed)
        self._storage = InMemoryStorage()
        directions = [direction(objective) for objective in objectives]
        self._study = optuna.create_study(storage=self._storage, sampler=sampler, directions=directions)
        self._spent: set[str] = set()
        self._live: dict[str, Genome] = {}
        self._parents: list[Genome] = []
        self._answers: dict[str, _Answer] = {}
        self._preselector = preselector
        self._signs = [objective.sign for objective in objectives]
        for trial in history:
            self._remember(trial)

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """Optuna's distribution of every gene."""
        return self._distributions

    def is_new(self, genome: Genome) -> bool:
        """Whether no equal trial was evaluated, failed for good or is running."""
        return self._unused(self.repaired(genome))

    def _unused(self, repaired: Genome) -> bool:
        key = self._key(repaired)
        return key not in self._spent and key not in self._live

    def repaired(self, genome: Genome) -> Genome:
        """The nearest possible genome, stepped ranges on their grid."""
        return self._space.repair({knob.name: _snapped(knob, genome[knob.name]) for knob in self._space.knobs})

    def ask(self) -> Proposal | None:
        """Propose the next genome; None when every genome of the space has been used."""
        for _ in range(_REASKS):
            trial = self._study.ask(dict(self._distributions))
            genome = self._preselected(self.repaired(trial.params))
            if self.is_new(genome):
                return self._proposal(trial, genome)
            self._answer(trial, self._key(genome))
        fresh = next((genome for genome in self._alternatives() if self.is_new(genome)), None)
        return None if fresh is None else self.ask_for(fresh)

    def ask_for(self, genome: Genome) -> Proposal:
        """Propose a given genome, in a way that lets it become a parent."""
        repaired = self.repaired(genome)
        self._study.enqueue_trial(dict(repaired))
        trial = self._study.ask(dict(self._distributions))
        _ = trial.relative_params  # a fully specified trial joins a generation only when this is read
        return self._proposal(trial, repaired)

    def tell(self, proposal: Proposal, values: Sequence[float], *, violations: Mapping[str, float] | None = None) -> None:
        """Report the values of an evaluated genome; one with violations steers the sampler but never passes for good."""
        self._answers[proposal.key] = _Answer(values=tuple(values), violations=dict(violations or {}))
        self._answer(proposal.trial, proposal.key)
        self._live.pop(proposal.key, None)
        self._spent.add(proposal.key)
        self._teach(proposal.genome, None if violations else values)

    def fail(self, proposal: Proposal, *, again: bool) -> None:
        """Report that a genome has no values. It is not proposed again unless `again` says so."""
        self._study.tell(proposal.trial, state=TrialState.FAIL)
        self._live.pop(proposal.key, None)
        if not again:
            self._spent.add(proposal.key)
            self._teach(proposal.genome, None)

    def _preselected(self, genome: Genome) -> Genome:
        """The most promising of the sampler's proposal and its rivals; it takes the proposal's place in its generation."""
        if self._preselector is None:
            return genome
        chosen = self._preselector.choose(self._fresh(genome), list(self._live.values()), self._fresh)
        return genome if chosen is None else chosen

    def _fresh(self, genome: Genome) -> Genome | None:
        repaired = self.repaired(genome)
        return repaired if self._unused(repaired) else None

    def _teach(self, genome: Genome, values: Sequence[float] | None) -> None:
        if values is not None:
            self._parents.append(genome)
        if self._preselector is not None:
            minimised = None if values is None else [sign * value for sign, value in zip(self._signs, values, strict=True)]
            self._preselector.tell(genome, minimised)

    def _answer(self, trial: Trial, key: str) -> None:
        answer = self._answers.get(key)
        if answer is None:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        for name, violation in answer.violations.items():
            trial.set_constraint(name, violation)
        self._study.tell(trial, list(answer.values))

    def _key(self, repaired: Genome) -> str:
        return genome_key(self._space.active(repaired))

    def _proposal(self, trial: Trial, genome: Genome) -> Proposal:
        for name, value in genome.items():
            if trial.params[name] != value:  # offspring inherit what is evaluated, not what was repaired away
                distribution = self._distributions[name]
                self._storage.set_trial_param(trial._trial_id, name, distribution.to_internal_repr(value), distribution)
        key = self._key(genome)
        self._live[key] = genome
        system = self._storage.get_trial(trial._trial_id).system_attrs
        return Proposal(genome=genome, key=key, system=dict(system), trial=trial)

    def _remember(self, trial: FrozenTrial) -> None:
        if trial.state is TrialState.COMPLETE:
            self._study.add_trial(trial)
            self._answers[trial.user_attrs["key"]] = _Answer(values=tuple(trial.values), violations=trial.constraints)
            violated = any(violation > 0 for violation in trial.constraints.values())
            self._teach(trial.user_attrs["genome"], None if violated else trial.values)
        again = trial.user_attrs.get("ending", {}).get("again", True)
        if trial.state is not TrialState.COMPLETE and not again:
            self._teach(trial.user_attrs["genome"], None)
        if trial.state is TrialState.COMPLETE or not again:
            self._spent.add(trial.user_attrs["key"])

    def _alternatives(self) -> Iterator[Genome]:
        for count in range(_DRAWS if self._parents else 0):
            yield self._mutated(changes=1 + count // 10)
        for _ in range(_DRAWS):
            yield self._space.sample(self._random)
        yield from self._enumerated()

    def _mutated(self, *, changes: int) -> Genome:
        knobs = self._random.sample(self._space.knobs, min(changes, len(self._space.knobs)))
        changed = {knob.name: knob.sample(self._random) for knob in knobs}
        return {**self._random.choice(self._parents), **changed}

    def _enumerated(self) -> Iterator[Genome]:
        size = self._space.size()
        if size is None or size > _MAX_ENUMERATED:
            return
        genomes: list[tuple[Value, ...]] = list(itertools.product(*(knob.grid for knob in self._space.knobs)))
        self._random.shuffle(genomes)
        for values in genomes:
            yield dict(zip(self._space.names, values, strict=True))


def _snapped(knob: Knob, value: Value) -> Value:
    """The value on the knob's grid; a range's steps come back from Optuna with rounding errors."""
    if knob.choices or not knob.grid or not isinstance(value, int | float):
        return value
    return nearest_value(value, knob.grid)
