"""The rooms at the root are importable, and nothing here shadows the real mlflow package."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = {"search": 4, "mlflow": 3, "evaluators": 3, "exporters": 2, "trainers": 2, "spaces": 2, "models": 1, "data": 1}
"""A room may import those of its own level and below."""
ROOMS = tuple(LEVELS)


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_a_link_to_the_folder_at_the_root(room: str) -> None:
    link = ROOT / "src" / "paretolens" / room
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == ROOT / room
    assert importlib.import_module(f"paretolens.{room}") is not None


def test_mlflow_folder_is_no_regular_package() -> None:
    assert not (ROOT / "mlflow" / "__init__.py").exists()


@pytest.mark.parametrize("arguments", [["-c"], ["-P", "-c"]])
def test_import_mlflow_from_the_root_gets_the_library(arguments: list[str]) -> None:
    code = "import mlflow; mlflow.start_run; print(mlflow.__file__)"
    done = subprocess.run([sys.executable, *arguments, code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "site-packages" in done.stdout


def test_importing_paretolens_is_cheap() -> None:
    code = "import paretolens, sys; print(sorted({'torch', 'ray', 'mlflow', 'optuna', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_requirements_lock_pins_every_line_and_names_no_index() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    assert all("==" in line and "://" not in line and not line.startswith("-") for line in lines)


def imports_of(room: str) -> Iterator[tuple[str, str]]:
    """(place, module) of every import in a room, those within functions too."""
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom):
                yield place, node.module or ""
            elif isinstance(node, ast.Import):
                yield from ((place, alias.name) for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    found = list(imports_of(room))
    assert found
    inner = [(place, name, name.split(".")[1]) for place, name in found if name.startswith("paretolens.")]
    assert [f"{place} {name}" for place, name, other in inner if LEVELS.get(other, 0) > LEVELS[room]] == []
    owners = {"ray": "search", "mlflow": "mlflow"}
    assert [f"{place} {name}" for place, name in found if owners.get(name.split(".")[0], room) != room] == []
