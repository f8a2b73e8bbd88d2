"""Pre-selection: spread first, then towards what the model expects, never towards what fails."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from paretolens.search.outcome import Objective
from paretolens.search.preselect import Preselector
from paretolens.search.proposer import Proposer
from paretolens.search.sampling import Sampler, make_sampler
from paretolens.search.variation import children, nudged
from paretolens.spaces.knobs import Genome, Knob, Space, Stage

Grid = Callable[..., Space]
MINIMISED = (Objective(name="f1", maximise=False), Objective(name="f2", maximise=False))


def assisted(space: Space, *, seed: int = 0, **more: object) -> Proposer:
    source = make_sampler(Sampler.NSGA2, population=8, seed=seed)
    return Proposer(
        space=space, objectives=MINIMISED, sampler=source, seed=seed, preselector=Preselector(space, seed=seed), **more  # type: ignore[arg-type]
    )  # fmt: skip


def ends(genome: Genome) -> tuple[float, float]:
    x = [float(value) for value in genome.values()]
    return x[0] + sum(x[2:]), 1 - x[0] + sum(x[2:])


def test_the_first_genomes_lie_farther_apart_than_random_ones(cube: Space) -> None:
    source, rng = assisted(cube), random.Random(0)
    spread = [list(proposal.genome.values()) for _ in range(8) if (proposal := source.ask())]
    drawn = [list(cube.sample(rng).values()) for _ in range(8)]

    def nearest(points: list[list[float]]) -> float:
        table = np.array(points, dtype=float)
        gaps = np.linalg.norm(table[:, None] - table, axis=2)
        return float(gaps[~np.eye(len(table), dtype=bool)].min())

    assert nearest(spread) > 1.5 * nearest(drawn)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
def test_what_it_proposes_is_near_the_front_after_few_trials(cube: Space, seed: int) -> None:
    """The front is where x2, x3 and x4 are 0: no sampler that knows no model comes near within 40 trials."""
    source = assisted(cube, seed=seed)
    excess = []
    for _ in range(40):
        proposal = source.ask()
        assert proposal is not None
        source.tell(proposal, ends(proposal.genome))
        excess.append(sum(float(proposal.genome[f"x{index}"]) for index in (2, 3, 4)))
    assert np.mean(excess[-10:]) < 0.3 * np.mean(excess[:8])


def test_running_trials_are_not_proposed_beside(cube: Space) -> None:
    """What runs counts as if it had come out as predicted, so the next proposal must promise something else."""

    def gap(*, running: bool) -> float:
        gaps = []
        for seed in range(4):
            chooser, rng = Preselector(cube, seed=seed), random.Random(seed)
            for _ in range(20):
                genome = cube.sample(rng)
                chooser.tell(genome, ends(genome))
            first = chooser.choose(None, [], dict)
            assert first is not None
            second = chooser.choose(None, [first] if running else [], dict)
            assert second is not None
            gaps.append(abs(float(first["x0"]) - float(second["x0"])))
        return float(np.mean(gaps))

    assert gap(running=True) > 1.5 * gap(running=False)


def test_genomes_that_count_for_nothing_are_shunned(cube: Space) -> None:
    source = assisted(cube)
    late = []
    for number in range(50):
        proposal = source.ask()
        assert proposal is not None
        good = float(proposal.genome["x0"]) > 0.5
        late += [good] if number >= 25 else []
        if good or number % 2:
            source.tell(proposal, ends(proposal.genome), violations=None if good else {"limit": 1.0})
        else:
            source.fail(proposal, again=False)
    assert np.mean(late) > 0.75


def test_the_same_seed_proposes_the_same_and_nothing_twice(grid: Grid) -> None:
    def proposed(seed: int) -> list[tuple[object, ...]]:
        source, genomes = assisted(grid(3, 3, 2), seed=seed), []
        while (proposal := source.ask()) is not None:
            genomes.append(tuple(proposal.genome.values()))
            source.tell(proposal, (float(proposal.genome["n0"]), -float(proposal.genome["n1"])))
        return genomes

    first = proposed(1)
    assert first == proposed(1)
    assert first != proposed(2)
    assert len(set(first)) == len(first) == 18


def test_values_alike_in_an_objective_and_heavy_tails_are_no_trouble(cube: Space) -> None:
    source = assisted(cube)
    for number in range(30):
        proposal = source.ask()
        assert proposal is not None
        source.tell(proposal, (1.0, 1e12 if number % 7 == 0 else float(proposal.genome["x0"])))


def test_children_stay_within_every_kind_of_knob() -> None:
    space = Space(
        knobs=(
            Knob(name="range", stage=Stage.STUDENT, doc="", default=0.5, low=0.0, high=1.0),
            Knob(name="log", stage=Stage.STUDENT, doc="", default=1.0, low=1e-3, high=1e3, log=True),
            Knob(name="step", stage=Stage.STUDENT, doc="", default=0.0, low=0.0, high=0.6, step=0.1),
            Knob(name="choice", stage=Stage.STUDENT, doc="", default=4, choices=(16, 4, 8), limits=(1, 99)),
            Knob(name="name", stage=Stage.STUDENT, doc="", default="a", choices=("a", "b"), allowed=("a", "b")),
            Knob(name="switch", stage=Stage.STUDENT, doc="", default=False, choices=(False, True), allowed=(False, True)),
        )
    )
    rng = random.Random(0)
    born = list(children(space, [space.sample(rng) for _ in range(5)], 500, rng))
    for genome in born:
        space.validate(genome)
    moved = [nudged(space, born[0], rng) for _ in range(300)]
    assert {sum(genome[name] != born[0][name] for name in space.names) for genome in moved} <= {0, 1, 2, 3}
