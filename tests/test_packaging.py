"""The rooms at the root are importable, and nothing here shadows the real mlflow package."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("search", "spaces", "models", "data", "trainers", "evaluators", "exporters", "mlflow")


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
