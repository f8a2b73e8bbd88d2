"""What a key depends on beside settings: the code that trains, and the libraries it computes with."""

import importlib.metadata
import shutil
from pathlib import Path

import pytest

import paretolens
from paretolens.search.origin import MISSING, library_versions, source_digest
from paretolens.search.stage_keys import code_digest


class Elsewhere:
    """Stands for a family that a user keeps in a file of their own."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources, taken for the package."""
    here = Path(paretolens.__file__).parent
    for room in ("models", "trainers", "spaces", "data", "search"):
        shutil.copytree(here / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "*.y*ml", "*.sh"))
    monkeypatch.setattr(paretolens, "__file__", str(tmp_path / "__init__.py"))
    return tmp_path


def _digest() -> str:
    code_digest.cache_clear()
    return code_digest(Elsewhere)


@pytest.mark.parametrize(
    ("name", "constant"),
    [
        ("search/score.py", "BATCH = 32"),
        ("search/stages.py", "_CALIBRATION_CLIPS = 128"),
        ("trainers/lowrank.py", "def factorise("),
    ],
)
def test_another_constant_where_students_are_trained_is_another_key(package: Path, name: str, constant: str) -> None:
    before = _digest()
    path = package / name
    text = path.read_text()
    assert constant in text
    path.write_text(text.replace(constant, f"\n{constant}", 1))
    assert _digest() != before
    path.write_text(text)
    assert _digest() == before
    (package / "search" / "live.py").write_text("")
    assert _digest() == before


@pytest.mark.parametrize("library", ["torch", "torchvision", "timm", "torch-pruning", "tensorly"])
def test_another_version_of_a_library_is_another_key(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    before, found = _digest(), importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1" if name == library else found(name))
    assert _digest() != before
    monkeypatch.undo()
    assert _digest() == before


def test_a_file_that_moves_its_end_to_the_next_is_noticed(tmp_path: Path) -> None:
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_text("x = 1\ny = 2\n")
    second.write_text("")
    before = source_digest((), first, second)
    first.write_text("x = 1\n")
    second.write_text("y = 2\n")
    assert source_digest((), first, second) != before


def test_a_library_that_is_not_there_is_missing() -> None:
    assert library_versions(["numpy", "no-such-distribution"])["no-such-distribution"] == MISSING
