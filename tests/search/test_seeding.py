"""Seeding from an earlier study: its front, and only its front, fitted to the new space."""

from collections.abc import Callable

from paretolens.search.journal import Journal
from paretolens.search.outcome import Fate, Objective, TrialOutcome
from paretolens.search.sampling import distributions
from paretolens.search.seeding import adapted, front_genomes
from paretolens.spaces.knobs import Knob, Space, Stage


def test_only_evaluated_members_of_the_front_are_taken(
    grid: Callable[..., Space], open_journal: Callable[..., Journal], objectives: tuple[Objective, ...]
) -> None:
    space = grid(9)
    told = [(3.0, 5.0, Fate.EVALUATED), (2.0, 4.0, Fate.EVALUATED), (4.0, 4.0, Fate.EVALUATED), (1.0, 9.0, Fate.EARLY_STOPPED)]
    with open_journal() as journal:
        assert front_genomes(journal.records(), objectives) == []
        for n, (cost, gain, fate) in enumerate(told):
            number = journal.begin({"n0": n}, distributions(space), key=f"{n:016x}", system={})
            journal.end(number, fate, TrialOutcome(values={"cost": cost, "gain": gain}))
        number = journal.begin({"n0": 8}, distributions(space), key="8" * 16, system={})
        journal.end(number, Fate.FAILED, reason="broken")
        assert [dict(genome) for genome in front_genomes(journal.records(), objectives)] == [{"n0": 1}, {"n0": 0}]


def test_a_genome_of_another_space_becomes_the_nearest_of_this_one() -> None:
    space = Space(
        knobs=(
            Knob(name="width", stage=Stage.STUDENT, doc="", default=32, choices=(32, 64), limits=(1, 999)),
            Knob(name="ratio", stage=Stage.PRUNE, doc="", default=0.3, low=0.0, high=0.6),
            Knob(name="head", stage=Stage.STUDENT, doc="", default="gru", choices=("gru", "tcn"), allowed=("gru", "tcn")),
            Knob(name="new", stage=Stage.STUDENT, doc="", default=5, choices=(5, 6)),
        ),
        rule=lambda space, genome: {**genome, "new": 6} if genome["head"] == "tcn" else genome,
    )
    assert adapted(space, {"width": 192, "ratio": 0.9, "head": "tcn", "gone": 1}) == {
        "width": 64, "ratio": 0.6, "head": "tcn", "new": 6,
    }  # fmt: skip
    assert adapted(space, {"width": 32, "ratio": 0.1, "head": "lstm"}) == {"width": 32, "ratio": 0.1, "head": "gru", "new": 5}
