import numpy as np
import pytest
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from paretolens.mlflow.pareto import GrowingFront, crowding, dominates, non_dominated, ranks


def test_hand_worked_front() -> None:
    values = [[1, 4], [2, 2], [4, 1], [3, 3], [2, 5]]
    assert non_dominated(values).tolist() == [True, True, True, False, False]
    assert ranks(values).tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("objectives", [2, 3, 4])
@pytest.mark.parametrize("grid", [None, 4])
def test_ranks_agree_with_pymoo(objectives: int, grid: int | None) -> None:
    values = np.random.default_rng(objectives).random((400, objectives))
    if grid:  # many ties and duplicates
        values = np.round(values * grid)
    own = ranks(values)
    for rank, front in enumerate(NonDominatedSorting().do(values)):
        assert set(np.flatnonzero(own == rank)) == set(front)


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_ten_thousand_points_agree_with_pymoo(objectives: int) -> None:
    values = np.random.default_rng(objectives).random((10_000, objectives))
    assert set(np.flatnonzero(ranks(values) == 0)) == set(NonDominatedSorting().do(values, only_non_dominated_front=True))
    assert (non_dominated(values) == (ranks(values) == 0)).all()


def test_every_rank_of_many_points_in_two_objectives_agrees_with_pymoo() -> None:
    values = np.round(np.random.default_rng(0).random((2_000, 2)), 2)
    own = ranks(values)
    for rank, front in enumerate(NonDominatedSorting().do(values)):
        assert set(np.flatnonzero(own == rank)) == set(front)


def test_equal_points_are_on_the_front_once() -> None:
    values = [[2, 1], [1, 2], [2, 1], [1, 2], [3, 3]]
    assert non_dominated(values).tolist() == [True, True, False, False, False]
    assert non_dominated(values, keep_duplicates=True).tolist() == [True, True, True, True, False]
    assert ranks(values).tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_measurement_is_never_on_the_front_and_dominates_nothing(bad: float) -> None:
    values = [[1.0, 2.0], [0.0, bad], [2.0, 1.0], [bad, bad]]
    assert non_dominated(values).tolist() == [True, False, True, False]
    assert ranks(values).tolist() == [0, -1, 0, -1]
    assert np.isnan(crowding(values)).tolist() == [False, True, False, True]


def test_empty_and_single() -> None:
    assert non_dominated(np.zeros((0, 3))).tolist() == []
    assert ranks(np.zeros((0, 3))).tolist() == []
    assert non_dominated([[1, 2, 3]]).tolist() == [True]
    with pytest.raises(ValueError, match="shape"):
        non_dominated([1, 2, 3])


@pytest.mark.parametrize("grid", [3, 8, None])
def test_a_front_that_grows_is_that_of_all_rows_at_every_moment(grid: int | None) -> None:
    rng = np.random.default_rng(1)
    values = rng.random((120, 3)) if grid is None else rng.integers(0, grid, (120, 3)).astype(float)
    values[7, 1], values[30, 0] = np.nan, np.inf
    growing = GrowingFront()
    for count, row in enumerate(values, start=1):
        growing.add(row.tolist())
        assert growing.rows == np.flatnonzero(non_dominated(values[:count], keep_duplicates=True)).tolist()


def test_crowding_agrees_with_pymoo() -> None:
    values = np.random.default_rng(1).random((60, 3))
    front = values[non_dominated(values)]
    own, theirs = crowding(front), calc_crowding_distance(front)
    inner = np.isfinite(theirs)
    assert (np.isinf(own) == ~inner).all()
    np.testing.assert_allclose(own[inner], theirs[inner] * front.shape[1])  # pymoo averages over the objectives


def test_dominates() -> None:
    assert dominates([1, 2], [1, 3])
    assert not dominates([1, 2], [1, 2])
    assert not dominates([1, 2], [0, 3])
