import numpy as np
import pytest

from paretolens.mlflow.knee import knee_point


def test_the_bend_of_a_curve() -> None:
    accuracy = np.array([0.60, 0.80, 0.93, 0.94, 0.945])
    latency = np.array([0.5, 0.8, 1.2, 4.0, 9.0])
    assert knee_point(np.stack([-accuracy, latency], axis=1)) == 2


def test_a_person_s_choice_among_three_objectives() -> None:
    # accuracy, latency in ms, EPS: the slowest is best, one is broken but fast, trial 2 gives up 2 points for 5 times the speed
    front = np.array(
        [[0.97, 5.0, 0.80], [0.96, 2.0, 0.75], [0.95, 1.0, 0.70], [0.90, 0.7, 0.60], [0.80, 0.5, 0.40], [0.5, 0.2, 0.05]]
    )
    assert knee_point(front * [-1, 1, -1]) == 2


def test_many_fast_and_poor_models_do_not_make_a_good_one_look_slow() -> None:
    # from a search whose front is crowded at its fast end
    accuracy = [0.948, 0.926, 0.879, 0.870, 0.828, 0.774, 0.739, 0.737, 0.708]
    latency = [2.80, 1.53, 0.740, 0.939, 0.659, 0.518, 0.392, 0.393, 0.382]
    eps = [0.691, 0.547, 0.427, 0.432, 0.316, 0.369, 0.355, 0.410, 0.352]
    assert knee_point(np.array([accuracy, latency, eps]).T * [-1, 1, -1]) == 1


def test_useless_extremes_are_not_chosen_and_do_not_move_the_choice() -> None:
    front = np.array([[0.97, 9.0, 0.80], [0.965, 4.0, 0.78], [0.96, 1.5, 0.77], [0.93, 1.2, 0.6], [0.9, 1.0, 0.5]]) * [-1, 1, -1]
    extremes = [[-0.5, 0.01, -0.01], [-0.5001, 0.02, -0.02], [-0.5002, 0.03, -0.03]]
    assert knee_point(front) == knee_point(np.vstack([front, extremes])) == 2


def test_a_front_that_bends_outwards_gives_no_extreme() -> None:
    angle = np.linspace(0, np.pi / 2, 9)
    front = np.stack([np.sin(angle), np.cos(angle)], axis=1)  # minimised: the plane through the ends is nearest to the ends
    assert knee_point(front) == 4


def test_scale_and_shift_of_an_objective_change_nothing() -> None:
    values = np.random.default_rng(3).random((50, 3))
    assert knee_point(values) == knee_point(values * [1000, 0.01, 1] + [5, -3, 100])


def test_the_knee_is_on_the_front_and_measured() -> None:
    assert knee_point([[2.0, 2.0], [1.0, 1.0], [np.nan, 0.0], [0.0, np.inf]]) == 1
    assert knee_point([[1.0, 1.0], [1.0, 1.0]]) == 0
    with pytest.raises(ValueError, match="knee"):
        knee_point([[np.nan, 1.0]])
