"""Replays on the virtual clock: the engine's own parts, times worked out by hand."""

import numpy as np
import pytest

from paretolens.search.halving import HalvingSettings
from paretolens.search.outcome import Fate, Objective
from paretolens.search.replay import Bounds, Contender, Row, Source, Table, compare, simulate
from paretolens.search.replay.table import Report
from paretolens.search.sampling import Sampler
from paretolens.search.settings import EngineSettings, Scheduler
from paretolens.spaces.knobs import Knob, Space, Stage

NUMBERS = tuple(range(6))
SPACE = Space(knobs=(Knob(name="n", stage=Stage.STUDENT, doc="", default=0, choices=NUMBERS),))
AXES = (Objective(name="cost", maximise=False), Objective(name="gain", maximise=True))
ERRORS = (0.5, 0.4, 0.3, 0.9, 0.2, 0.8)


def table() -> Table:
    """Trial n takes n + 1 seconds; after half of them it reports its error."""
    rows = tuple(
        Row(
            genome={"n": n}, values={"cost": ERRORS[n], "gain": 1 - ERRORS[n]}, seconds=n + 1.0,
            reports=(Report(seconds=(n + 1) / 2, metrics={"progress_epoch": 1.0, "progress_error": ERRORS[n]}),),
        )
        for n in NUMBERS
    )  # fmt: skip
    return Table(
        name="t", space=SPACE, origin={}, objectives=AXES, rows=rows, first=tuple({"n": n} for n in NUMBERS), complete=True
    )


def ended(**more: object) -> list[tuple[float, object, Fate]]:
    settings = EngineSettings(trials=6, sampler=Sampler.RANDOM, **more)  # type: ignore[arg-type]
    source = Source(table())
    return [(end.seconds, end.row.genome["n"], end.fate) for end in simulate(source, settings=settings, first=source.table.first)]


def test_trials_end_when_their_recorded_time_is_over() -> None:
    alone, pair = ended(workers=1), ended(workers=2)
    assert [time for time, _, _ in alone] == [1, 3, 6, 10, 15, 21]
    assert [(time, number) for time, number, _ in pair] == [(1, 0), (2, 1), (4, 2), (6, 3), (9, 4), (12, 5)]
    assert {fate for _, _, fate in alone} == {Fate.EVALUATED}


def test_early_stopping_frees_the_worker_at_the_report() -> None:
    found = ended(workers=1, scheduler=Scheduler.HALVING, halving=HalvingSettings(reduction=2, grace_epochs=1))
    assert [fate for _, _, fate in found] == [Fate.EVALUATED] * 3 + [Fate.EARLY_STOPPED, Fate.EVALUATED, Fate.EARLY_STOPPED]
    assert [time for time, _, _ in found] == [1, 3, 6, 8, 13, 16]


@pytest.mark.parametrize(("seconds", "times"), [(0.5, [1, 3, 6, 6.5, 11.5, 12.0]), (None, [1, 3, 6, 10, 15, 21])])
def test_a_genome_over_a_limit_ends_early_or_late_and_is_infeasible(seconds: float | None, times: list[float]) -> None:
    settings, source = EngineSettings(trials=4, workers=1, sampler=Sampler.RANDOM), Source(table())
    bounds = Bounds(limits={"cost": 0.7}, seconds=seconds)
    found = simulate(source, settings=settings, first=source.table.first, bounds=bounds)
    assert [end.seconds for end in found] == times[: len(found)]
    assert [end.fate is Fate.INFEASIBLE for end in found] == [ERRORS[int(end.row.genome["n"])] > 0.7 for end in found]
    assert sum(end.fate is Fate.EVALUATED for end in found) == 4


def test_a_time_limit_counts_on_the_virtual_clock() -> None:
    assert [time for time, _, _ in ended(workers=1, time_limit_s=5.0)] == [1, 3, 6]


def test_scores_are_shares_of_the_tables_own_front_by_trials_and_by_time() -> None:
    contender = Contender(name="x", settings=EngineSettings(trials=6, workers=1, sampler=Sampler.RANDOM))
    (score,) = compare(Source(table()), [contender], seeds=3, marks=(1, 6), shares=(0.01, 1.0))
    assert score.after[:, 1] == pytest.approx(np.ones(3))
    assert score.at == pytest.approx(np.array([[0.0, 1.0]] * 3))
    assert np.all(score.after[:, 0] < 0.7)
    assert score.seconds.tolist() == [21.0] * 3
    assert score.evaluated.tolist() == [6.0] * 3


@pytest.mark.parametrize("sampler", [Sampler.NSGA2, Sampler.NSGA3, Sampler.TPE, Sampler.RANDOM])
def test_every_sampler_uses_the_whole_table_up(sampler: Sampler) -> None:
    settings = EngineSettings(trials=6, workers=2, sampler=sampler, population=2)
    found = simulate(Source(table()), settings=settings)
    assert sorted(str(end.row.genome["n"]) for end in found) == [str(n) for n in NUMBERS]


@pytest.mark.parametrize(("preselect", "effect"), [(True, "only pre-selection learns"), (False, "the search is random")])
def test_a_population_as_large_as_the_budget_is_warned_about(
    caplog: pytest.LogCaptureFixture, preselect: bool, effect: str
) -> None:
    simulate(Source(table()), settings=EngineSettings(trials=3, population=3, preselect=preselect))
    assert [record.message for record in caplog.records] == [
        f"the population of 3 is not below the 3 trials: {'nothing is bred, ' * preselect}{effect}"
    ]


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.RANDOM])
def test_samplers_without_a_population_are_not_warned_about_one(caplog: pytest.LogCaptureFixture, sampler: Sampler) -> None:
    simulate(Source(table()), settings=EngineSettings(trials=3, population=3, sampler=sampler))
    assert not caplog.records
