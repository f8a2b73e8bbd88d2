"""The default sampler beside others, on problems whose fronts are known: NAS-Bench-201 and ZDT1-3 and DTLZ2 over mixed knobs.

    python benchmarks/samplers.py [PROBLEM ...] [--seeds 10] [--trials 200] [--workers 1]

Every sampler is run by the engine's own proposer and dispatcher on a virtual clock. The figures are hypervolumes as shares of the
exact front's, after so many distinct evaluations. Needs paretolens[replay].
"""

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from paretolens.search.outcome import Objective
from paretolens.search.replay import Contender, Row, Score, Source, Table, compare
from paretolens.search.replay.nasbench import DATASETS, nasbench_table
from paretolens.search.sampling import Sampler
from paretolens.search.settings import EngineSettings
from paretolens.spaces.knobs import Genome, Knob, Space, Stage

LETTERS = tuple("abcdef")
KNOBS = 9
MARKS = (24, 50, 100, 200)

Function = Callable[[NDArray[np.float64]], tuple[float, ...]]


class FunctionSource(Source):
    """A problem given by a formula. Every third knob is continuous, a ladder of nine numbers, and six names in no order."""

    def __init__(self, name: str, function: Function, optimum: float, ends: int) -> None:
        rng = np.random.default_rng(5)
        self._orders = [rng.permutation(len(LETTERS)) / (len(LETTERS) - 1) for _ in range(KNOBS)]
        self._function = function
        space = Space(knobs=tuple(_knob(index) for index in range(KNOBS)))
        objectives = tuple(Objective(name=f"f{index}", maximise=False) for index in range(len(function(np.zeros(KNOBS)))))
        points = np.vstack([rng.random((2000, KNOBS)), np.full((2000, KNOBS), optimum)])
        points[2000:, :ends] = rng.random((2000, ends))
        rows = tuple(self._row({}, point) for point in points)
        super().__init__(Table(name=name, space=space, origin={}, objectives=objectives, rows=(), complete=True))
        self.table = Table(name=name, space=space, origin={}, objectives=objectives, rows=rows, complete=True)

    def answer(self, genome: Genome) -> Row:
        """The formula's."""
        values = enumerate(genome.values())
        return self._row(genome, np.array([self._orders[i][LETTERS.index(v)] if isinstance(v, str) else v for i, v in values]))

    def _row(self, genome: Genome, point: NDArray[np.float64]) -> Row:
        values = self._function(np.asarray(point, dtype=np.float64))
        return Row(genome=genome, values={f"f{index}": float(value) for index, value in enumerate(values)}, seconds=1.0)


def _knob(index: int) -> Knob:
    name, stage = f"x{index}", Stage.STUDENT
    if index % 3 == 1:
        return Knob(name=name, stage=stage, doc="", default=0.0, choices=tuple(step / 8 for step in range(9)), limits=(0, 1))
    if index % 3 == 2:
        return Knob(name=name, stage=stage, doc="", default="a", choices=LETTERS, allowed=LETTERS)
    return Knob(name=name, stage=stage, doc="", default=0.5, low=0.0, high=1.0)


def _zdt(shape: Callable[[float, float], float]) -> Function:
    """Zitzler, Deb and Thiele (2000): f1 = x1, f2 = g · h(f1 / g, f1), g = 1 + 9 · mean of the others."""

    def function(x: NDArray[np.float64]) -> tuple[float, ...]:
        g = 1 + 9 * x[1:].mean()
        return x[0], g * shape(x[0] / g, x[0])

    return function


def _dtlz2(x: NDArray[np.float64]) -> tuple[float, ...]:
    """Deb, Thiele, Laumanns and Zitzler (2002), three objectives."""
    radius, (first, second) = 1 + ((x[2:] - 0.5) ** 2).sum(), x[:2] * np.pi / 2
    return radius * np.cos(first) * np.cos(second), radius * np.cos(first) * np.sin(second), radius * np.sin(first)


PROBLEMS: dict[str, Callable[[], Source]] = {
    **{name: lambda name=name: Source(nasbench_table(name)) for name in DATASETS},  # type: ignore[misc]
    "zdt1": lambda: FunctionSource("ZDT1", _zdt(lambda r, _: 1 - r**0.5), 0.0, 1),
    "zdt2": lambda: FunctionSource("ZDT2", _zdt(lambda r, _: 1 - r**2), 0.0, 1),
    "zdt3": lambda: FunctionSource("ZDT3", _zdt(lambda r, f: 1 - r**0.5 - r * np.sin(10 * np.pi * f)), 0.0, 1),
    "dtlz2": lambda: FunctionSource("DTLZ2", _dtlz2, 0.5, 2),
}


def contenders(trials: int, workers: int) -> list[Contender]:
    """The default first, then the default without pre-selection and the four that the goal names."""

    def one(name: str, sampler: Sampler, *, preselect: bool = False, population: int | None = None) -> Contender:
        settings = EngineSettings(trials=trials, workers=workers, sampler=sampler, preselect=preselect, population=population)
        return Contender(name=name, settings=settings)

    return [
        one("default: NSGA-II, pre-selected", Sampler.NSGA2, preselect=True),
        one("NSGA-II, population by budget", Sampler.NSGA2),
        one("NSGA-II, population 20", Sampler.NSGA2, population=20),
        one("NSGA-II, population 50", Sampler.NSGA2, population=50),
        one("TPE, multivariate", Sampler.TPE),
        one("random", Sampler.RANDOM),
    ]


def print_scores(name: str, scores: Sequence[Score], marks: Sequence[int]) -> None:
    """A Markdown table."""
    print(f"\n| {name} | {' | '.join(f'after {mark}' for mark in marks)} | ms a trial |\n|---{'|---' * (len(marks) + 1)}|")
    for score in scores:
        errors = score.after.std(axis=0, ddof=1) / len(score.after) ** 0.5
        cells = [f"{mean:.3f} ± {error:.3f}" for mean, error in zip(score.after.mean(axis=0), errors, strict=True)]
        print(f"| {score.name} | {' | '.join(cells)} | {score.milliseconds:.0f} |", flush=True)


def main() -> None:
    """Print a table per problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help=f"of {', '.join(PROBLEMS)} (default: all)")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    marks = [mark for mark in MARKS if mark <= options.trials]
    for name in options.problems or PROBLEMS:
        source = PROBLEMS[name]()
        scores = compare(source, contenders(options.trials, options.workers), seeds=options.seeds, marks=marks)
        print_scores(source.table.name, scores, marks)


if __name__ == "__main__":
    main()
