"""Answers for any genome of a table's space: what was measured where it was measured, a surrogate's guess elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretolens.errors import DataError
from paretolens.search.encoding import Encoding
from paretolens.search.outcome import genome_key
from paretolens.search.replay.table import Report, Row, Table
from paretolens.search.surrogate import GaussianProcess, fit
from paretolens.spaces.knobs import Genome

__all__ = ["Source"]

Floats = NDArray[np.float64]
_FOLDS = 5
_LEAST_ROWS = 10
SECONDS = "seconds"


@dataclass(frozen=True, kw_only=True)
class _Guess:
    models: Mapping[str, GaussianProcess]
    rows: Floats


class Source:
    """Evaluations without training.

    A genome without a row gets the mean of a Gaussian process per objective and one for the logarithm of the duration, and the
    epochs of the nearest row, stretched to that duration. `held_out` says how far such guesses are off.

    Raises:
        DataError: the table is incomplete and has too few rows to guess from.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._rows = {self._key(row.genome): row for row in table.rows}
        self._encoding = Encoding(table.space)
        self._guess: _Guess | None = None
        self.held_out: dict[str, float] = {}
        """Objective, or `seconds` → share of the variance that guesses explain over five held-out folds: 1 is perfect, 0 is no
        better than the mean. Empty for a complete table."""
        if not table.complete:
            if len(table.rows) < _LEAST_ROWS:
                raise DataError(
                    f"table {table.name}: {len(table.rows)} trials are too few to guess others; {_LEAST_ROWS} are needed"
                )
            self._learn()

    def answer(self, genome: Genome) -> Row:
        """What a trial of this genome would give."""
        row = self._rows.get(self._key(genome))
        return self._guessed(genome) if row is None else row

    def _key(self, genome: Genome) -> str:
        return genome_key(self.table.space.active(genome))

    def _learn(self) -> None:
        rows = self._encoding.rows(row.genome for row in self.table.rows)
        columns = {objective.name: [row.values[objective.name] for row in self.table.rows] for objective in self.table.objectives}
        columns[SECONDS] = [float(np.log(max(row.seconds, 1e-3))) for row in self.table.rows]
        targets = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
        models = {name: fit(rows, values, self._encoding.nominal) for name, values in targets.items()}
        self.held_out = {name: _explained(rows, values, self._encoding.nominal) for name, values in targets.items()}
        self._guess = _Guess(models=models, rows=rows)

    def _guessed(self, genome: Genome) -> Row:
        if self._guess is None:
            raise DataError(f"table {self.table.name}: it holds no row for {dict(genome)}")
        place = self._encoding.rows([genome])
        means = {name: float(model.predict(place)[0][0]) for name, model in self._guess.models.items()}
        seconds = float(np.exp(means.pop(SECONDS)))
        gaps = self._guess.rows - place
        distances = np.where(self._encoding.nominal, gaps != 0, gaps**2).sum(axis=1)
        near = self.table.rows[int(distances.argmin())]
        stretch = seconds / near.seconds if near.seconds > 0 else 1.0
        reports = tuple(Report(seconds=one.seconds * stretch, metrics=one.metrics) for one in near.reports)
        return Row(genome=genome, values=means, seconds=seconds, reports=reports)


def _explained(rows: Floats, values: Floats, nominal: NDArray[np.bool_]) -> float:
    """R² over folds that take every fifth row."""
    guesses = np.empty_like(values)
    fold = np.arange(len(values)) % _FOLDS
    for number in range(_FOLDS):
        model = fit(rows[fold != number], values[fold != number], nominal)
        guesses[fold == number] = model.predict(rows[fold == number])[0]
    spread = float(((values - values.mean()) ** 2).sum())
    return 1.0 - float(((values - guesses) ** 2).sum()) / spread if spread > 0 else 1.0
