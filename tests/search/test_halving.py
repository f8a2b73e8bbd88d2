"""Early stopping: who goes on, checked against rankings worked out by hand and by pymoo."""

import numpy as np
import pytest
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from paretolens.search.halving import Halving, HalvingSettings, Milestone, preference


def milestone(number: int, epoch: int, error: float, **more: float) -> Milestone:
    found = Milestone.of(f"{number:016x}", {"progress_epoch": float(epoch), "progress_error": error, **more})
    assert found is not None
    return found


def test_the_best_third_of_a_rung_goes_on_and_nobody_is_judged_between_rungs() -> None:
    halving = Halving(HalvingSettings(reduction=3, grace_epochs=2))
    errors = [0.5, 0.4, 0.3, 0.45, 0.2, 0.25]
    assert all(halving.goes_on(milestone(number, 1, error)) for number, error in enumerate(errors))
    verdicts = [halving.goes_on(milestone(number, 2, error)) for number, error in enumerate(errors)]
    assert verdicts == [True, True, True, False, True, True]  # two too few to judge; then the best 1, 2, 2, 2 of 3, 4, 5, 6
    assert all(halving.goes_on(milestone(number, epoch, 0.9)) for number in range(6) for epoch in (3, 4, 5))
    assert halving.sizes() == {(0, 2): 6}
    assert halving.goes_on(milestone(0, 6, 0.1))
    assert halving.sizes() == {(0, 2): 6, (0, 6): 1}


def test_a_trial_bad_in_one_objective_goes_on_if_it_is_best_in_another() -> None:
    halving = Halving(HalvingSettings(reduction=2, grace_epochs=1))
    for number in range(6):
        halving.goes_on(
            milestone(number, 1, 0.1 + 0.01 * number, progress_eps=0.5 - 0.01 * number, cheap_latency_ms=5.0 + number)
        )
    assert halving.goes_on(milestone(6, 1, 0.9, progress_eps=0.1, cheap_latency_ms=1.0))  # by far the fastest
    assert halving.goes_on(milestone(7, 1, 0.9, progress_eps=0.9, cheap_latency_ms=9.0))  # by far the most faithful
    assert not halving.goes_on(milestone(8, 1, 0.9, progress_eps=0.1, cheap_latency_ms=9.0))


def test_an_objective_that_only_some_report_is_not_compared() -> None:
    halving = Halving(HalvingSettings(reduction=2, grace_epochs=1))
    assert halving.goes_on(milestone(0, 1, 0.1))
    assert not halving.goes_on(milestone(1, 1, 0.2, progress_eps=0.9))
    assert halving.goes_on(milestone(2, 1, 0.05, progress_eps=0.1))


def test_a_trial_that_has_trained_to_its_end_is_not_thrown_away() -> None:
    halving = Halving(HalvingSettings(reduction=2, grace_epochs=1))
    for number in range(4):
        halving.goes_on(milestone(number, 1, 0.1, progress_epochs=4.0))
    assert halving.goes_on(milestone(4, 1, 0.9, progress_epochs=1.0))
    assert not halving.goes_on(milestone(5, 1, 0.9, progress_epochs=2.0))
    assert halving.sizes() == {(0, 1): 6}


def test_what_is_no_number_is_never_preferred() -> None:
    halving = Halving(HalvingSettings(reduction=2, grace_epochs=1))
    for number in range(3):
        halving.goes_on(milestone(number, 1, 0.5))
    assert not halving.goes_on(milestone(3, 1, float("nan")))


def test_rungs_rebuilt_from_milestones_judge_as_those_that_never_went_down() -> None:
    settings = HalvingSettings(reduction=2, grace_epochs=1, brackets=2)
    rng = np.random.default_rng(0)
    past = [
        milestone(int(n), int(e), float(rng.random()), progress_eps=float(rng.random())) for n in range(20) for e in range(1, 5)
    ]
    lived = Halving(settings)
    for one in past:
        lived.goes_on(one)
    rebuilt = Halving(settings, past)
    assert rebuilt.sizes() == lived.sizes()
    new = [milestone(100 + n, 2, float(rng.random()), progress_eps=float(rng.random())) for n in range(20)]
    assert [rebuilt.goes_on(one) for one in new] == [lived.goes_on(one) for one in new]


def test_a_trial_that_runs_again_stands_on_a_rung_once_with_its_new_values() -> None:
    halving = Halving(HalvingSettings(reduction=2, grace_epochs=1), [milestone(0, 1, 0.1), milestone(1, 1, 0.2)])
    assert not halving.goes_on(milestone(0, 1, 0.9))
    assert halving.sizes() == {(0, 1): 2}


def test_brackets_start_later_and_are_told_apart_by_the_genome() -> None:
    halving = Halving(HalvingSettings(reduction=3, grace_epochs=1, brackets=2))
    for number in range(10):
        for epoch in range(1, 4):
            halving.goes_on(milestone(number, epoch, 0.5))
    assert halving.sizes() == {(0, 1): 5, (0, 3): 5, (1, 3): 5}


@pytest.mark.parametrize("seed", range(5))
def test_preference_follows_the_ranks_and_spreads_over_each_front(seed: int) -> None:
    values = np.random.default_rng(seed).random((30, 3))
    order = preference(values)
    assert sorted(order) == list(range(30))
    position, place = np.argsort(order), 0
    for front in NonDominatedSorting().do(values):
        assert sorted(position[front]) == list(range(place, place + len(front)))
        place += len(front)


def test_a_front_is_taken_from_its_best_end_then_its_farthest_points() -> None:
    line = np.array([[0.0, 1.0], [0.1, 0.9], [0.5, 0.5], [0.9, 0.1], [1.0, 0.0]])
    assert preference(line).tolist() == [0, 4, 2, 1, 3]


def test_reports_that_are_not_of_an_epoch_are_no_milestones() -> None:
    assert Milestone.of("0", {"loss": 1.0}) is None
    assert Milestone.of("0", {"progress_epoch": 1.0}) is None
    assert Milestone.of("0", {"progress_epoch": float("nan"), "progress_error": 1.0}) is None
