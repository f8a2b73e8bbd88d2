"""The Gaussian process, held against scikit-learn's."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from paretolens.search import surrogate
from paretolens.search.surrogate import fit

NUMBERS = np.zeros(3, dtype=bool)


def test_predictions_equal_scikit_learns_with_the_same_length_scales() -> None:
    rng = np.random.default_rng(0)
    rows, places = rng.random((30, 3)), rng.random((20, 3))
    values = np.sin(5 * rows[:, 0]) + rows[:, 1]
    weights = np.array([2.0, 1.0, -1.0, -5.0])
    ours = fit(rows, values, NUMBERS, start=weights, steps=0)
    kernel = Matern(length_scale=np.exp(-weights[:3] / 2), nu=2.5)
    theirs = GaussianProcessRegressor(kernel, alpha=np.exp(-5.0) + 1e-8, optimizer=None, normalize_y=True).fit(rows, values)
    means, spreads = theirs.predict(places, return_std=True)
    assert ours.predict(places)[0] == pytest.approx(means, abs=1e-8)
    assert ours.predict(places)[1] == pytest.approx(spreads, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_of_the_posterior_is_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.column_stack([rng.random((25, 2)), rng.integers(0, 3, 25)])
    nominal, values = np.array([False, False, True]), rng.standard_normal(25)
    distances = np.stack([surrogate._column_distance(rows, rows, nominal, column) for column in range(3)])
    prior = surrogate._prior(3)
    point = prior[0] + rng.standard_normal(4)

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        return surrogate._loss(at, distances, values, prior)

    error = check_grad(lambda at: loss(at)[0], lambda at: loss(at)[1], point)
    assert error < 1e-3


def test_it_learns_which_columns_matter_and_names_in_no_order() -> None:
    rng = np.random.default_rng(1)
    rows = np.column_stack([rng.random((80, 3)), rng.integers(0, 4, 80)])
    nominal = np.array([False, False, False, True])
    effect = np.array([0.0, 2.0, -1.0, 1.0])

    def truth(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.sin(6 * x[:, 0]) + effect[x[:, 3].astype(int)])

    model = fit(rows, truth(rows), nominal)
    places = np.column_stack([rng.random((200, 3)), rng.integers(0, 4, 200)])
    means, spreads = model.predict(places)
    errors = truth(places) - means
    assert np.sqrt(np.mean(errors**2)) < 0.15
    assert np.mean(np.abs(errors) < 3 * spreads) > 0.9
    assert min(model.weights[0], model.weights[3]) > max(model.weights[1], model.weights[2]) + 2


def test_values_that_are_all_alike_are_no_trouble() -> None:
    model = fit(np.random.default_rng(0).random((10, 3)), np.full(10, 7.0), NUMBERS)
    assert model.predict(np.zeros((1, 3)))[0] == pytest.approx([7.0])
