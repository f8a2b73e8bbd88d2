import numpy as np
import pytest

from paretolens.mlflow.attainment import attained_over_time, attainment_surface, coverage


def test_hand_worked_surfaces() -> None:
    fronts = [[[1, 3], [3, 1]], [[2, 2]], [[2, 4], [4, 2]]]
    assert attainment_surface(fronts, 0.0).tolist() == [[1, 3], [2, 2], [3, 1]]
    assert attainment_surface(fronts, 0.5).tolist() == [[2, 3], [3, 2]]
    assert attainment_surface(fronts, 1.0).tolist() == [[2, 4], [4, 2]]


def attained_share(targets, fronts) -> np.ndarray:
    """Share of the fronts that hold a point which is nowhere worse than a target, said in loops."""

    def nowhere_worse(point, target) -> bool:
        return all(p <= t for p, t in zip(point, target, strict=True))

    return np.array([np.mean([any(nowhere_worse(point, target) for point in front) for front in fronts]) for target in targets])


@pytest.mark.parametrize("level", [0.01, 0.34, 0.5, 0.75, 1.0])
def test_the_corners_of_a_surface_are_just_attained(level: float) -> None:
    random = np.random.default_rng(0)
    fronts = [random.random((20, 2)) for _ in range(8)]
    corners = attainment_surface(fronts, level)
    assert (attained_share(corners, fronts) >= level - 1e-9).all()
    assert (attained_share(corners - [1e-9, 0], fronts) < level).all()
    assert (attained_share(corners - [0, 1e-9], fronts) < level).all()


def test_what_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match="at least one front"):
        attainment_surface([], 0.5)
    with pytest.raises(ValueError, match="level"):
        attainment_surface([[[1, 2]]], 1.5)
    assert len(attainment_surface([[[1, 2]], np.zeros((0, 2))], 1.0)) == 0


def test_coverage() -> None:
    assert coverage([[1, 1]], [[1, 1], [2, 0]]) == 0.5
    assert coverage(np.zeros((0, 2)), [[1, 1]]) == 0.0
    assert np.isnan(coverage([[1, 1]], np.zeros((0, 2))))


def test_attained_over_time_agrees_with_counting() -> None:
    random = np.random.default_rng(4)
    points, targets = random.random((30, 3)), random.random((12, 3)) * 1.2
    counted = [np.mean([any((point <= target).all() for point in points[:n]) for target in targets]) for n in range(1, 31)]
    np.testing.assert_allclose(attained_over_time(points, targets), counted)
    assert np.isnan(attained_over_time(points, np.empty((0, 3)))).all()
