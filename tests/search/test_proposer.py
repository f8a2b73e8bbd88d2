"""Proposals: valid, new, reproducible, and better than chance."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState

from paretolens.search.journal import Journal
from paretolens.search.outcome import Fate, Objective, TrialOutcome
from paretolens.search.proposer import Proposer
from paretolens.search.sampling import Sampler, distributions, make_sampler, population_size
from paretolens.spaces.knobs import Genome, Knob, Space, Stage

Grid = Callable[..., Space]
MINIMISED = (Objective(name="f1", maximise=False), Objective(name="f2", maximise=False))


def proposer(space: Space, *, sampler: Sampler = Sampler.NSGA2, population: int = 8, seed: int = 0, **more: object) -> Proposer:
    source = make_sampler(sampler, population=population, seed=seed)
    return Proposer(space=space, objectives=MINIMISED, sampler=source, seed=seed, **more)  # type: ignore[arg-type]


def zdt1(genome: Genome) -> tuple[float, float]:
    x = [float(value) for value in genome.values()]
    g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    return x[0], g * (1 - (x[0] / g) ** 0.5)


def hypervolume(points: list[tuple[float, float]], reference: tuple[float, float] = (1.1, 10.0)) -> float:
    """Area dominated by the points, swept from left to right."""
    area, height = 0.0, reference[1]
    for left, top in sorted(points):
        if left < reference[0] and top < height:
            area += (reference[0] - left) * (height - top)
            height = top
    return area


def searched(space: Space, trials: int, **more: object) -> list[tuple[float, float]]:
    source = proposer(space, population=population_size(trials=trials, workers=1), **more)  # type: ignore[arg-type]
    points = []
    for _ in range(trials):
        proposal = source.ask()
        assert proposal is not None
        points.append(zdt1(proposal.genome))
        source.tell(proposal, points[-1])
    return points


def test_hypervolume_of_a_hand_worked_front() -> None:
    assert hypervolume([(0.1, 5.0), (0.6, 2.0), (0.7, 3.0)]) == pytest.approx(1.0 * 5.0 + 0.5 * 3.0)


def test_nsga2_beats_random_search_on_every_seed(cube: Space) -> None:
    """Its offspring inherit: with independent draws the two would be alike."""
    seeds = range(4)
    evolved = [hypervolume(searched(cube, 160, seed=seed)) for seed in seeds]
    drawn = [hypervolume(searched(cube, 160, seed=seed, sampler=Sampler.RANDOM)) for seed in seeds]
    assert all(ours > theirs for ours, theirs in zip(evolved, drawn, strict=True))
    assert np.mean(evolved) > np.mean(drawn) + 0.5


@pytest.mark.parametrize("sampler", list(Sampler))
def test_every_sampler_proposes_the_same_from_the_same_seed(cube: Space, sampler: Sampler) -> None:
    trials = 9 if sampler is Sampler.GP else 24  # a model per proposal takes its time
    first, again, other = (searched(cube, trials, seed=seed, sampler=sampler) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_no_genome_is_proposed_twice_and_a_small_space_is_used_up(grid: Grid) -> None:
    space = grid(3, 4)
    source = proposer(space)
    seen = set()
    for number in range(12):
        proposal = source.ask()
        assert proposal is not None
        seen.add(tuple(proposal.genome.values()))
        if number % 3:
            source.tell(proposal, (1.0, float(number)))
        else:
            source.fail(proposal, again=False)
    assert len(seen) == 12
    assert source.ask() is None


def test_a_repetition_is_answered_from_the_record(grid: Grid) -> None:
    """What the sampler proposes again counts in its population, with the values that are known; nothing is evaluated twice."""
    source = proposer(grid(3, 3), population=4)
    values = {}
    for number in range(9):
        proposal = source.ask()
        assert proposal is not None
        values[tuple(proposal.genome.values())] = [float(number), -float(number)]
        source.tell(proposal, (float(number), -float(number)))
    complete = [trial for trial in source._study.trials if trial.state is TrialState.COMPLETE]
    assert len(values) == 9
    assert len(complete) > 9
    assert all(trial.values == values[trial.params["n0"], trial.params["n1"]] for trial in complete)


def test_what_runs_is_not_proposed_beside_it_and_what_is_owed_may_return(grid: Grid) -> None:
    source = proposer(grid(2))
    first, second = source.ask(), source.ask()
    assert first is not None
    assert second is not None
    assert first.genome != second.genome
    assert source.ask() is None
    source.fail(first, again=True)
    returned = source.ask()
    assert returned is not None
    assert returned.genome == first.genome


def test_a_failed_genome_does_not_come_back_and_others_keep_coming(cube: Space) -> None:
    source = proposer(cube)
    proposal = source.ask_for({f"x{index}": 0.25 for index in range(5)})
    source.fail(proposal, again=False)
    assert not source.is_new(proposal.genome)


def test_given_genomes_become_parents(cube: Space) -> None:
    """A fully specified Optuna trial joins no generation by itself, so nothing would inherit from it."""
    source = proposer(cube, population=4)
    for index in range(4):
        proposal = source.ask_for({f"x{knob}": 0.1 + 0.2 * index for knob in range(5)})
        assert proposal.system["NSGAIISampler:generation"] == 0
        source.tell(proposal, (float(index), float(-index)))
    child = source.ask()
    assert child is not None
    assert child.system["NSGAIISampler:generation"] == 1
    inherited = {round(0.1 + 0.2 * index, 9) for index in range(4)}
    assert sum(round(float(value), 9) in inherited for value in child.genome.values()) >= 3


def tied(space: Space, genome: Genome) -> Genome:
    return {**genome, "n1": min(int(genome["n1"]), int(genome["n0"]))}


def test_genomes_are_repaired_and_heirs_get_what_was_evaluated(grid: Grid) -> None:
    space = replace(grid(6, 6), rule=tied)
    source = proposer(space, population=4)
    for _ in range(20):
        proposal = source.ask()
        assert proposal is not None
        assert int(proposal.genome["n1"]) <= int(proposal.genome["n0"])
        source.tell(proposal, (float(proposal.genome["n0"]), -float(proposal.genome["n1"])))
        assert source._study.trials[-1].params == dict(proposal.genome)


def test_genomes_that_differ_only_in_idle_knobs_are_the_same(grid: Grid) -> None:
    space = replace(grid(2, 50), idle=lambda genome: frozenset({"n1"}) if genome["n0"] == 0 else frozenset())
    source = proposer(space)
    source.tell(source.ask_for({"n0": 0, "n1": 7}), (0.0, 0.0))
    assert not source.is_new({"n0": 0, "n1": 8})
    assert source.is_new({"n0": 1, "n1": 8})


def test_steps_of_a_range_are_exact() -> None:
    knob = Knob(name="ratio", stage=Stage.PRUNE, doc="pruned", default=0.1, low=0.1, high=0.7, step=0.1)
    space = Space(knobs=(knob,))
    source = proposer(space)
    proposals = [source.ask() for _ in range(7)]
    assert sorted(proposal.genome["ratio"] for proposal in proposals if proposal) == list(knob.grid)
    for proposal in proposals:
        assert proposal is not None
        space.validate(proposal.genome)
    assert source.ask() is None


def test_violations_steer_away(cube: Space) -> None:
    """The violated points dominate; still no offspring comes from them once feasible ones are there."""
    source = proposer(cube, population=8)
    for _ in range(80):
        proposal = source.ask()
        assert proposal is not None
        excess = float(proposal.genome["x0"]) - 0.5
        value = 0.0 if excess > 0 else 1.0
        source.tell(proposal, (value, value), violations={"limit": excess} if excess > 0 else None)
    late = [float(trial.params["x0"]) for trial in source._study.trials[-30:]]
    assert np.mean([x <= 0.5 for x in late]) > 0.7


def history(space: Space, journal: Journal) -> list[FrozenTrial]:
    for index, fate in enumerate((Fate.EVALUATED, Fate.FAILED, Fate.INTERRUPTED)):
        genome = {"n0": index}
        number = journal.begin(
            genome, distributions(space), key=proposer(space)._key(genome), system={"NSGAIISampler:generation": 0}
        )
        values = {"cost": 1.0, "gain": 1.0} if fate is Fate.EVALUATED else {}
        journal.end(number, fate, TrialOutcome(values=values), again=fate is Fate.INTERRUPTED)
    return journal.trials()


def test_history_is_taken_over(grid: Grid, open_journal: Callable[..., Journal]) -> None:
    space = grid(4)
    with open_journal() as journal:
        source = proposer(space, history=history(space, journal))
    assert [source.is_new({"n0": value}) for value in range(4)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("trials", "workers", "expected"), [(24, 2, 6), (100, 2, 8), (200, 2, 17), (1000, 2, 50), (24, 8, 16), (1, 1, 6)]
)
def test_population_is_sized_to_the_budget(trials: int, workers: int, expected: int) -> None:
    assert population_size(trials=trials, workers=workers) == expected
