import numpy as np
import pytest
from pymoo.indicators.hv import HV

from paretolens.mlflow.hypervolume import hypervolume, hypervolume_history


def test_hand_worked_areas() -> None:
    assert hypervolume([[1, 3], [2, 2], [3, 1]], [4, 4]) == pytest.approx(6)
    assert hypervolume([[1, 1, 1]], [2, 3, 4]) == pytest.approx(6)
    assert hypervolume([[1], [2]], [5]) == pytest.approx(4)
    assert hypervolume_history([[3, 3], [2, 2], [5, 0], [1, 3], [2, 2]], [4, 4]).tolist() == pytest.approx([1, 4, 4, 5, 5])


@pytest.mark.parametrize("objectives", [2, 3, 4])
@pytest.mark.parametrize("count", [1, 7, 80])
def test_agrees_with_pymoo(objectives: int, count: int) -> None:
    values = np.random.default_rng(count).random((count, objectives)) * 1.2
    reference = np.ones(objectives)
    assert hypervolume(values, reference) == pytest.approx(float(HV(ref_point=reference)(values)), abs=1e-12)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_history_is_the_hypervolume_of_every_beginning(objectives: int) -> None:
    values = np.random.default_rng(objectives).random((60, objectives)) * 1.2
    values[7, 0] = np.nan
    values[20:25] = values[3]
    reference = np.ones(objectives)
    expected = [hypervolume(values[: n + 1], reference) for n in range(len(values))]
    np.testing.assert_allclose(hypervolume_history(values, reference), expected, atol=1e-12)


def test_points_beyond_the_reference_and_unmeasured_ones_add_nothing() -> None:
    inside = [[1.0, 1.0]]
    outside = [[5.0, 0.0], [np.nan, 0.0], [-np.inf, 0.0], [4.0, 1.0]]
    assert hypervolume(inside + outside, [4, 4]) == hypervolume(inside, [4, 4]) == 9
    assert hypervolume(np.zeros((0, 2)), [4, 4]) == 0


@pytest.mark.parametrize("reference", [[1.0], [1.0, np.nan], [1.0, np.inf]])
def test_a_reference_that_fits_not(reference: list[float]) -> None:
    with pytest.raises(ValueError, match="reference"):
        hypervolume([[0.0, 0.0]], reference)
