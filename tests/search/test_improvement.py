"""Hypervolume improvement, held against the difference of two hypervolumes."""

import numpy as np
import pytest

from paretolens.mlflow.hypervolume import hypervolume
from paretolens.search.improvement import Stairs


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_improvement_is_what_the_hypervolume_grows_by(objectives: int, count: int) -> None:
    rng = np.random.default_rng(objectives)
    front, points, reference = rng.random((count, objectives)), 1.2 * rng.random((40, objectives)) - 0.1, np.full(objectives, 0.9)
    before = hypervolume(front, reference)
    expected = [hypervolume(np.vstack([front, point]), reference) - before for point in points]
    assert Stairs(front, reference).improvement(points) == pytest.approx(np.array(expected), abs=1e-12)


def test_many_points_are_taken_in_parts() -> None:
    rng = np.random.default_rng(0)
    stairs = Stairs(rng.random((200, 3)), np.ones(3))
    points = rng.random((9000, 3))
    whole = stairs.improvement(points)
    assert whole[4321:4322] == pytest.approx(stairs.improvement(points[4321:4322]))
    assert len(stairs.improvement(points[:0])) == 0


def test_a_long_front_of_three_objectives_is_thinned_and_never_underrated() -> None:
    rng = np.random.default_rng(1)
    front = rng.random((60, 3))
    front /= np.linalg.norm(front, axis=1, keepdims=True)
    points = rng.random((20, 3))
    exact = np.array([hypervolume(np.vstack([front, point]), np.ones(3)) for point in points]) - hypervolume(front, np.ones(3))
    assert np.all(Stairs(front, np.ones(3)).improvement(points) >= exact - 1e-12)
