"""Model-assisted pre-selection: of many children of a population, evaluate the one that promises most.

A Gaussian process per objective learns from what was measured; the child with the greatest expected hypervolume improvement is
chosen. Before enough is known, the candidate that lies farthest from everything tried is. Knows neither Optuna nor Ray.

Sources: pre-selection of offspring, Jin, "Surrogate-assisted evolutionary computation" (2011), III A; expected hypervolume
improvement, Emmerich et al. (2006); normal scores against heavy tails, Salinas, Shen and Perrone, "A quantile-based approach for
hyperparameter transfer learning" (2020), sec. 4; trials that run count with their predicted values, Ginsbourger et al. (2010).
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from threadpoolctl import ThreadpoolController

from paretolens.mlflow.pareto import GrowingFront, crowding, non_dominated
from paretolens.search.encoding import Encoding
from paretolens.search.improvement import Stairs
from paretolens.search.surrogate import GaussianProcess, fit
from paretolens.search.variation import children, nudged
from paretolens.spaces.knobs import Genome, Space

__all__ = ["Preselector"]

Floats = NDArray[np.float64]
Fresh = Callable[[Genome], Genome | None]
_START = 8
"""Genomes spread over the space before the model is asked."""
_LEAST = 4
"""Measured genomes without which there is nothing to learn from."""
_PARENTS = 20
_POOL = 400
_REFINED = 200
"""Children of the ten best children."""
_DRAWS = 64
"""Samples of a prediction, shared among the objectives."""
_MOST_ROWS = 256
"""Measured genomes that the model learns from, so that an ask costs the same after 200 trials and after 2,000."""
_MARGIN = 0.1
"""How far beyond the worst value measured the reference lies, as a share of the range."""
_LEAST_CHANCE = 0.02


@dataclass
class _Known:
    """What was tried."""

    genomes: list[Genome] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    refused: list[Genome] = field(default_factory=list)
    front: GrowingFront = field(default_factory=GrowingFront)
    """Of the values; sorting a long record anew for every proposal takes ever longer."""


class Preselector:
    """Chooses among children. Not for several threads.

    Args:
        space: the knobs.
        seed: of the children and of the draws.
    """

    def __init__(self, space: Space, *, seed: int) -> None:
        self._space = space
        self._encoding = Encoding(space)
        self._random = random.Random(seed)
        self._numbers = np.random.default_rng(seed)
        self._known = _Known()
        self._weights: dict[int, Floats] = {}
        self._learnt_at = 0

    def tell(self, genome: Genome, values: Sequence[float] | None) -> None:
        """Take what came out of a genome: its values, all minimised, or None if it failed or counts for nothing."""
        if values is None:
            self._known.refused.append(genome)
        else:
            self._known.genomes.append(genome)
            self._known.values.append(tuple(values))
            self._known.front.add(values)

    def choose(self, offspring: Genome | None, running: Sequence[Genome], fresh: Fresh) -> Genome | None:
        """The genome to evaluate next; None if no child is new.

        Args:
            offspring: the sampler's own proposal, one candidate among others.
            running: genomes under evaluation.
            fresh: repairs a genome; None if it is known.
        """
        # On matrices of this size a second thread only waits for a core that a worker has.
        with _libraries().limit(limits=1, user_api="blas"):
            return self._chosen([] if offspring is None else [offspring], running, fresh)

    def _chosen(self, first: Sequence[Genome], running: Sequence[Genome], fresh: Fresh) -> Genome | None:
        known = self._known
        if len(known.genomes) < _LEAST or len(known.genomes) + len(known.refused) + len(running) < _START:
            pool = _distinct([*first, *(self._space.sample(self._random) for _ in range(_POOL // 4))], fresh)
            return self._farthest(pool, running) if pool else None
        values = np.array(known.values)
        parents = [known.genomes[row] for row in _best(values, known.front.rows, _PARENTS)]
        pool = _distinct([*first, *children(self._space, parents, _POOL, self._random)], fresh)
        if not pool:
            return None
        promise = self._learn(values, running)
        scores = promise(pool)
        best = [pool[row] for row in np.argsort(-scores, kind="stable")[:10]]
        more = _distinct((nudged(self._space, self._random.choice(best), self._random) for _ in range(_REFINED)), fresh)
        everything = pool + more
        return everything[int(np.append(scores, promise(more)).argmax())]

    def _farthest(self, pool: Sequence[Genome], running: Sequence[Genome]) -> Genome:
        tried = [*self._known.genomes, *self._known.refused, *running]
        if not tried:
            return pool[0]
        gaps = self._encoding.rows(pool)[:, None] - self._encoding.rows(tried)
        distances = np.where(self._encoding.nominal, gaps != 0, gaps**2).sum(axis=2)
        return pool[int(distances.min(axis=1).argmax())]

    def _learn(self, values: Floats, running: Sequence[Genome]) -> Callable[[Sequence[Genome]], Floats]:
        """Fit the models; the answer gives (k,) expected improvements of k genomes."""
        kept = self._kept(values)
        rows, measured = self._encoding.rows(self._known.genomes[row] for row in kept), _scaled(values[kept])
        steps = 30 if len(values) < 30 or len(values) >= 1.1 * self._learnt_at else 0
        self._learnt_at = len(values) if steps else self._learnt_at
        scores = np.column_stack([_normal_scores(column) for column in measured.T])
        models = [self._fit(index, rows, column, steps) for index, column in enumerate(scores.T)]
        known = measured
        if running:
            busy = self._encoding.rows(running)
            means = np.column_stack([model.predict(busy)[0] for model in models])
            models = [_believing(model, scores[:, index], busy, means[:, index]) for index, model in enumerate(models)]
            known = np.vstack([measured, _measured_scale(means, scores, measured)])
        chance = self._chance(rows, steps)
        stairs = Stairs(known, known.max(axis=0) + _MARGIN)
        draws = self._numbers.standard_normal((_DRAWS // len(models), len(models)))

        def promise(genomes: Sequence[Genome]) -> Floats:
            if not genomes:
                return np.zeros(0)
            places = self._encoding.rows(genomes)
            predicted = [model.predict(places) for model in models]
            means, spreads = (np.column_stack([pair[side] for pair in predicted]) for side in (0, 1))
            sampled = _measured_scale(means[:, None] + spreads[:, None] * draws, scores, measured)
            gains = stairs.improvement(sampled.reshape(-1, len(models))).reshape(len(genomes), -1).mean(axis=1)
            return np.asarray(gains * (1.0 if chance is None else np.clip(chance.predict(places)[0], _LEAST_CHANCE, 1.0)))

        return promise

    def _kept(self, values: Floats) -> NDArray[np.int64]:
        """The rows to learn from: all, or the best half of the most and as many of the others at random."""
        if len(values) <= _MOST_ROWS:
            return np.arange(len(values))
        best = _best(values, self._known.front.rows, _MOST_ROWS // 2)[: _MOST_ROWS // 2]
        others = np.setdiff1d(np.arange(len(values)), best)
        return np.concatenate([best, self._numbers.choice(others, _MOST_ROWS - len(best), replace=False)])

    def _chance(self, rows: Floats, steps: int) -> GaussianProcess | None:
        """How likely a genome is to count at all; None while every one did."""
        refused = self._known.refused[-_MOST_ROWS:]
        if not refused:
            return None
        counts = np.append(np.ones(len(rows)), np.zeros(len(refused)))
        return self._fit(-1, np.vstack([rows, self._encoding.rows(refused)]), counts, steps)

    def _fit(self, index: int, rows: Floats, values: Floats, steps: int) -> GaussianProcess:
        model = fit(rows, values, self._encoding.nominal, start=self._weights.get(index), steps=steps)
        self._weights[index] = model.weights
        return model


@cache
def _libraries() -> ThreadpoolController:
    """The numerical libraries of this process; no attribute, since Tune copies its searcher with all that hangs on it."""
    return ThreadpoolController()


def _distinct(genomes: Iterable[Genome], fresh: Fresh) -> list[Genome]:
    """The new ones among them, each once."""
    new = [genome for candidate in genomes if (genome := fresh(candidate)) is not None]
    return list({tuple(genome.values()): genome for genome in new}.values())


def _best(values: Floats, front: Sequence[int], count: int) -> NDArray[np.int64]:
    """Rows of the front and, until there are `count`, of the fronts behind it, the lonely ones first."""
    rows, whole = np.array(front, dtype=np.int64), len(front)
    left = np.setdiff1d(np.arange(len(values)), rows)
    order: list[int] = []
    while len(rows):
        order += rows[np.argsort(-crowding(values[rows]), kind="stable")].tolist()
        if len(order) >= count:
            break
        mask = non_dominated(values[left], keep_duplicates=True)
        rows, left = left[mask], left[~mask]
    return np.array(order[: max(count, whole)], dtype=np.int64)


def _scaled(values: Floats) -> Floats:
    """Every objective on 0…1 between the best and the worst measured."""
    low, span = values.min(axis=0), np.ptp(values, axis=0)
    return np.asarray((values - low) / np.where(span > 0, span, 1.0))


def _normal_scores(column: Floats) -> Floats:
    """(n,) quantiles of a normal distribution in the order of the values; equal values get equal scores."""
    _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(column)
    return np.asarray(ndtri(middle)[place])


def _measured_scale(samples: Floats, scores: Floats, measured: Floats) -> Floats:
    """The reverse of the normal scores along the last axis, prolonged beyond the best as from the first quarter to it."""
    result = np.empty_like(samples)
    for column in range(scores.shape[1]):
        order = np.argsort(scores[:, column], kind="stable")
        known, values = scores[order, column], measured[order, column]
        quarter = len(known) // 4
        slope = (values[quarter] - values[0]) / max(known[quarter] - known[0], 1e-9)
        inner = np.interp(samples[..., column], known, values)
        beyond = values[0] + slope * (samples[..., column] - known[0])
        result[..., column] = np.where(samples[..., column] < known[0], beyond, inner)
    return result


def _believing(model: GaussianProcess, values: Floats, rows: Floats, means: Floats) -> GaussianProcess:
    """The model with predictions taken for measurements, so that running trials are not proposed beside."""
    return fit(np.vstack([model.rows, rows]), np.append(values, means), model.nominal, start=model.weights, steps=0)
