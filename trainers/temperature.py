"""Temperature scaling: one number that makes a model's confidence as large as it is right (Guo et al. 2017, section 4.2)."""

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["LIMIT", "fitted_temperature"]

LIMIT = 20.0
"""Temperatures lie in 1/LIMIT…LIMIT: where a set is told apart without a mistake, no finite one is best."""


def fitted_temperature(labels: ArrayLike, logits: ArrayLike) -> float:
    """The T that makes the cross-entropy of sigmoid(z / T) least.

    Args:
        labels: (N,) 1 = fake, 0 = real.
        logits: (N,) raw scores z.
    """
    from scipy.optimize import minimize_scalar

    truth = np.asarray(labels, dtype=np.float64).reshape(-1)
    scores = np.asarray(logits, dtype=np.float64).reshape(-1)

    def loss(log_t: float) -> float:
        z = scores * np.exp(-log_t)
        return float(np.mean(np.logaddexp(0.0, z) - truth * z))

    bound = float(np.log(LIMIT))
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))
