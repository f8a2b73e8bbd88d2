"""Small spaces, objectives and journals for the tests of the search engine."""

from collections.abc import Callable
from pathlib import Path

import pytest

from paretolens.search.journal import Journal
from paretolens.search.outcome import Objective
from paretolens.spaces.knobs import Knob, Space, Stage

TWO = (Objective(name="cost", maximise=False), Objective(name="gain", maximise=True))


def _line(name: str) -> Knob:
    return Knob(name=name, stage=Stage.STUDENT, doc="a number", default=0.5, low=0.0, high=1.0)


def _grid(name: str, size: int) -> Knob:
    return Knob(name=name, stage=Stage.STUDENT, doc="a whole number", default=0, choices=tuple(range(size)))


@pytest.fixture
def objectives() -> tuple[Objective, ...]:
    return TWO


@pytest.fixture
def cube() -> Space:
    """Five continuous knobs."""
    return Space(knobs=tuple(_line(f"x{index}") for index in range(5)))


@pytest.fixture
def grid() -> Callable[..., Space]:
    """A space of discrete knobs of the given sizes."""
    return lambda *sizes: Space(knobs=tuple(_grid(f"n{index}", size) for index, size in enumerate(sizes)))


@pytest.fixture
def open_journal(tmp_path: Path) -> Callable[..., Journal]:
    """Open the journal of a study in the test's folder."""

    def open_it(name: str = "study", fingerprint: str = "abc") -> Journal:
        return Journal(tmp_path / name, objectives=TWO, fingerprint=fingerprint)

    return open_it
