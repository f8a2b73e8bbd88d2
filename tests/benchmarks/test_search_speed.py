"""benchmarks/search_speed.py: what it makes of logged trials and of tables, on invented rows."""

import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from paretolens.search.outcome import Objective
from paretolens.search.replay import Row, Source, Table
from paretolens.search.sampling import Sampler
from paretolens.spaces.knobs import Knob, Space, Stage

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in benchmarks/ is run there, not installed."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def line(began: float, ended: float, latency: float = 1.0, *, qat: bool = False, **more: Any) -> dict[str, Any]:
    figures = {"latency_ms": latency, "seconds_train": 3.0, "int8": float(qat)}
    return {"genome": {"qat": qat}, "figures": figures, "began": began, "ended": ended, "fate": "evaluated", **more}


def refused(began: float, ended: float) -> dict[str, Any]:
    return {**line(began, ended, 9.0), "figures": {"latency_ms": 9.0, "seconds_cheap": 1.0}, "fate": "infeasible"}


def measured(*trials: dict[str, Any], workers: int = 2, limit_ms: float = 2.0, once: float = 0.0) -> Any:
    from bench_search.report import measure

    return measure([{"start": 100.0, "once": once}, *trials], workers=workers, limit_ms=limit_ms)


def test_time_counts_from_the_start_and_not_from_the_first_trial() -> None:
    one = measured(line(110.0, 120.0), line(110.0, 130.0), once=7.0)
    assert (one.trained, one.wall_seconds, one.trained_seconds, one.once_seconds) == (2, 25.0, 25.0, 7.0)
    assert one.trained_per_hour == pytest.approx(3600 * 2 / 25)


def test_genomes_that_the_limit_refused_are_no_trials_but_their_time_counts() -> None:
    one = measured(line(105.0, 120.0), refused(121.0, 124.0), line(100.0, 116.0), workers=1)
    assert (one.trained, one.refused, one.within, one.wall_seconds) == (2, 1, 2, 24.0)
    assert (one.refused_seconds, one.trained_seconds) == (3.0, 10.5)
    assert one.trained_per_hour == pytest.approx(3600 * 2 / 24)


def test_a_student_that_was_trained_and_found_too_slow_is_a_trial_but_not_within() -> None:
    one = measured(line(100.0, 120.0), line(100.0, 120.0, 5.0), line(120.0, 130.0, 5.0, fate="infeasible"))
    assert (one.trained, one.refused, one.within) == (3, 0, 1)


@pytest.mark.parametrize("qat", [True, False])
def test_a_file_of_another_precision_than_its_genome_asks_for_is_refused(qat: bool) -> None:
    wrong = line(100.0, 120.0)
    wrong["genome"], wrong["figures"]["int8"] = {"qat": qat}, float(not qat)
    with pytest.raises(ValueError, match="int8"):
        measured(wrong)


def test_a_log_without_a_start_is_refused() -> None:
    from bench_search.report import measure

    with pytest.raises(ValueError, match="not enough values"):
        measure([line(0.0, 1.0)], workers=2, limit_ms=2.0)


def test_contenders_take_what_their_own_trials_took_and_the_samplers_that_their_libraries_give() -> None:
    from search_speed import contenders

    slow, fast = measured(line(100.0, 140.0)), measured(line(100.0, 104.0), refused(104.0, 106.0), workers=1)
    arms = {arm.name: arm for arm in contenders({"a": slow, "d": fast, "b": slow}, limited=True)}
    assert set(arms) == {"a", "d", "random"}
    assert (arms["a"].seconds, arms["a"].refused, arms["a"].told, arms["a"].stock, arms["a"].population) == (
        40.0, None, False, True, None,
    )  # fmt: skip
    assert (arms["d"].seconds, arms["d"].refused, arms["d"].preselect, arms["d"].stock) == (4.0, 2.0, True, False)


def test_stock_samplers_have_their_libraries_settings() -> None:
    from optuna.samplers import NSGAIISampler, TPESampler
    from ray.tune.search.optuna import OptunaSearch

    from bench_search.stock import NSGA2_POPULATION, stock_sampler

    ray = OptunaSearch(space={}, metric=["x"], mode=["min"], seed=3)
    ray._setup_study(["min"])
    theirs, ours = ray._ot_study.sampler, stock_sampler(None, 3)
    assert type(theirs) is type(ours) is TPESampler
    names = ("_multivariate", "_constant_liar", "_n_startup_trials", "_group")
    assert [getattr(ours, name) for name in names] == [getattr(theirs, name) for name in names]
    genetic = stock_sampler(NSGA2_POPULATION, 0)
    assert isinstance(genetic, NSGAIISampler)
    assert genetic._population_size == NSGAIISampler()._population_size


def test_a_goal_is_reached_with_the_first_trial_whose_hypervolume_is_as_great_or_never() -> None:
    from bench_search.replays import Arm, replay

    slow = Arm(name="b", sampler=Sampler.RANDOM, seconds=4.0, refused=None, workers=1)
    quick, late = replace(slow, name="d", seconds=2.0), replace(slow, name="late", seconds=40.0)
    arms = [slow, quick, late]
    found = replay(table(), arms, reference=slow, limits={}, budget=6, seeds=2, progress=lambda done, total: None)
    assert all(mine == pytest.approx(theirs / 2) for mine, theirs in zip(found["d"].reached, found["b"].reached, strict=True))
    assert found["late"].reached == (float("inf"),) * 2


NUMBERS = tuple(range(20))
SPACE = Space(knobs=(Knob(name="n", stage=Stage.STUDENT, doc="", default=0, choices=NUMBERS),))
AXES = (Objective(name="latency_ms", maximise=False), Objective(name="accuracy", maximise=True))


def table(numbers: tuple[int, ...] = NUMBERS, *, complete: bool = True) -> Table:
    """Network n takes n ms and its trial two seconds."""
    rows = tuple(Row(genome={"n": n}, values={"latency_ms": float(n), "accuracy": n / 20}, seconds=2.0) for n in numbers)
    return Table(name="t", space=SPACE, origin={}, objectives=AXES, rows=rows, first=(), complete=complete)


def test_stock_trials_run_side_by_side_and_none_begins_after_the_horizon() -> None:
    from bench_search.stock import simulate_stock, stock_sampler

    def run(workers: int) -> list[float]:
        found = simulate_stock(
            Source(table()), stock_sampler(5, 0), workers=workers, limits={"latency_ms": 4.0}, horizon=5.0, most=99
        )
        return [end.seconds for end in found]

    assert run(1) == [2.0, 4.0, 6.0]
    assert run(2) == [2.0, 2.0, 4.0, 4.0, 6.0, 6.0]


def test_a_limit_leaves_its_share_of_random_genomes_not_of_the_rows_on_record() -> None:
    from bench_search.replays import limit_that_leaves

    assert limit_that_leaves(Source(table()), "latency_ms", 0.5) == pytest.approx(9.5, abs=1.0)
    recorded = table((0, 1, 2, 3, 4, 5, 6, 7, 8, 19), complete=False)  # a search that chose the fast ones
    limit = limit_that_leaves(Source(recorded), "latency_ms", 0.5)
    assert float(np.quantile([row.values["latency_ms"] for row in recorded.rows], 0.5)) == 4.5
    random = [Source(recorded).answer({"n": n}).values["latency_ms"] for n in NUMBERS]
    assert np.mean(np.array(random) <= limit) == pytest.approx(0.5, abs=0.1)


def test_the_recorded_ground_has_the_live_share_and_says_what_guesses_explain(monkeypatch: pytest.MonkeyPatch) -> None:
    import search_speed

    monkeypatch.setattr(search_speed, "nasbench_table", lambda _: table())
    live = measured(line(100.0, 120.0), refused(100.0, 101.0), refused(101.0, 102.0), refused(102.0, 103.0))
    own, other = search_speed.grounds(BENCHMARKS / "tables" / "default.json", live, Console(quiet=True))
    source, random = Source(own.table), Random(9)
    assert f"{100 * source.held_out['latency_ms']:.0f} % of the variance" in own.title
    drawn = [source.answer(own.table.space.sample(random)).values["latency_ms"] for _ in range(300)]
    assert np.mean(np.array(drawn) <= own.limits["latency_ms"]) == pytest.approx(0.25, abs=0.08)
    assert other.limits == {}


def test_figures_of_other_code_libraries_or_machines_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_search import task
    from bench_search.running import kept

    assert not kept(tmp_path)
    (tmp_path / "done").write_text(task.made_with())
    assert kept(tmp_path)
    assert task.made_with("search_speed.py") != task.made_with() == task.made_with()
    monkeypatch.setattr(task, "library_versions", lambda _: {"ray": "0.0"})
    assert not kept(tmp_path)


def test_goals_are_judged_on_trained_trials_for_each_number_of_gradients() -> None:
    from search_speed import goals

    slow, fast = measured(line(100.0, 160.0), workers=1), measured(line(100.0, 110.0), *[refused(110.0, 110.0)] * 9, workers=1)
    said = goals({"a": slow, "a-equal": measured(line(100.0, 120.0), workers=1), "d": fast}, {})
    assert said[0].startswith("6.00x the trained trials per hour of (a) with Captum's default")
    assert ": met" in said[0]
    assert said[1].startswith("2.00x")
    assert "NOT MET" in said[1]
