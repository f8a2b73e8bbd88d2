"""A Gaussian process over mixed knobs: what is likely to come out where nothing was measured. Plain arrays in and out.

Matérn-5/2 kernel with one length scale per knob; knobs that hold names count as equal or different (Hamming distance).
Length scales have the prior of Hvarfner, Hellsten and Nardi, "Vanilla Bayesian optimization performs great in high dimensions"
(2024), sec. 4: log l ~ N(sqrt 2 + log(d) / 2, 3), so that 24 points over 16 knobs are not over-fitted.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

__all__ = ["GaussianProcess", "fit"]

Floats = NDArray[np.float64]
_NOISE_PRIOR = (-4.0, 1.0)
"""Mean and standard deviation of the logarithm of the noise's variance; the values have variance 1."""
_JITTER = 1e-8
_BOUND = 12.0


@dataclass(frozen=True, kw_only=True)
class GaussianProcess:
    """A fitted process."""

    rows: Floats
    """(n, d) where it was measured."""
    nominal: NDArray[np.bool_]
    """(d,) columns that hold names."""
    weights: Floats
    """(d + 1,) logarithms: inverse squared length scales, then the noise's variance."""
    mean: float
    """Mean of the values."""
    scale: float
    """Their standard deviation."""
    factor: Floats
    """(n, n) lower Cholesky factor of the kernel's matrix."""
    solved: Floats
    """(n,) kernel's inverse times the standardised values."""

    def predict(self, rows: Floats) -> tuple[Floats, Floats]:
        """(k,) means and standard deviations at (k, d) rows, without the noise of a measurement."""
        cross = _matern(_scaled_distance(rows, self.rows, self.nominal, self.weights[:-1]))
        inner = solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
        spread = np.sqrt(np.maximum(1.0 - np.sum(inner**2, axis=0), 1e-12))
        return self.mean + self.scale * (cross @ self.solved), self.scale * spread


def fit(
    rows: Floats, values: Floats, nominal: NDArray[np.bool_], *, start: Floats | None = None, steps: int = 30
) -> GaussianProcess:
    """Fit to (n,) values at (n, d) rows by maximum a posteriori.

    Args:
        rows: where it was measured, columns on 0…1 unless nominal.
        values: what was measured, finite.
        nominal: (d,) columns that hold names.
        start: `weights` of an earlier fit to begin with.
        steps: most iterations of L-BFGS; 0 keeps the start.
    """
    mean, scale = float(values.mean()), float(values.std()) or 1.0
    target = (values - mean) / scale
    prior = _prior(rows.shape[1])
    weights = prior[0].copy() if start is None else start
    if steps:
        distances = np.stack([_column_distance(rows, rows, nominal, column) for column in range(rows.shape[1])])
        found = minimize(
            _loss, weights, args=(distances, target, prior), jac=True, method="L-BFGS-B",
            bounds=[(middle - _BOUND, middle + _BOUND) for middle in prior[0]], options={"maxiter": steps},
        )  # fmt: skip
        weights = found.x
    kernel = _matern(_scaled_distance(rows, rows, nominal, weights[:-1]))
    factor = cholesky(kernel + (math.exp(weights[-1]) + _JITTER) * np.eye(len(rows)), lower=True, check_finite=False)
    solved = cho_solve((factor, True), target, check_finite=False)
    return GaussianProcess(rows=rows, nominal=nominal, weights=weights, mean=mean, scale=scale, factor=factor, solved=solved)


def _prior(columns: int) -> tuple[Floats, Floats]:
    """Means and standard deviations of the weights: log w = -2 log l."""
    middle, width = -2 * (math.sqrt(2) + math.log(columns) / 2), 2 * math.sqrt(3)
    return np.array([middle] * columns + [_NOISE_PRIOR[0]]), np.array([width] * columns + [_NOISE_PRIOR[1]])


def _loss(weights: Floats, distances: Floats, target: Floats, prior: tuple[Floats, Floats]) -> tuple[float, Floats]:
    """Negative logarithm of the posterior and its gradient (Rasmussen and Williams 2006, eq. 5.8-5.9)."""
    count = len(target)
    scales, noise = np.exp(weights[:-1]), math.exp(weights[-1])
    squared = np.tensordot(scales, distances, axes=1)
    kernel = _matern(squared)
    factor = cholesky(kernel + (noise + _JITTER) * np.eye(count), lower=True, check_finite=False)
    inverse = cho_solve((factor, True), np.eye(count), check_finite=False)
    solved = inverse @ target
    away = (weights - prior[0]) / prior[1]
    loss = 0.5 * target @ solved + np.log(np.diag(factor)).sum() + 0.5 * away @ away
    outer = inverse - np.outer(solved, solved)
    by_scale = 0.5 * scales * (distances.reshape(len(scales), -1) @ (outer * _matern_slope(squared)).ravel())
    by_noise = 0.5 * noise * np.trace(outer)
    return float(loss), np.append(by_scale, by_noise) + away / prior[1]


def _matern(squared: Floats) -> Floats:
    root = np.sqrt(5.0 * squared)
    return (1.0 + root + 5.0 / 3.0 * squared) * np.exp(-root)


def _matern_slope(squared: Floats) -> Floats:
    """Derivative of `_matern` by the squared distance."""
    root = np.sqrt(5.0 * squared)
    return -5.0 / 6.0 * (1.0 + root) * np.exp(-root)


def _scaled_distance(first: Floats, second: Floats, nominal: NDArray[np.bool_], weights: Floats) -> Floats:
    """(k, n) squared distances; numbers by |a - b|² = |a|² + |b|² - 2ab, a matrix product."""
    scales = np.exp(weights)
    roots = np.sqrt(scales[~nominal])
    one, other = first[:, ~nominal] * roots, second[:, ~nominal] * roots
    total = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2.0 * one @ other.T
    for column in np.flatnonzero(nominal):
        total += scales[column] * _column_distance(first, second, nominal, int(column))
    return np.asarray(np.maximum(total, 0.0))


def _column_distance(first: Floats, second: Floats, nominal: NDArray[np.bool_], column: int) -> Floats:
    gap = first[:, None, column] - second[None, :, column]
    return (gap != 0).astype(np.float64) if nominal[column] else gap**2
