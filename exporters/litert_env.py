"""An environment of its own for LiteRT: its converter needs packages that the project's own cannot have beside each other.

Made once with uv under a cache folder (6 GB; minutes), then talked to by files and a process; nothing is pickled.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import paretolens
from paretolens.data.store import build_once
from paretolens.errors import BackendError

__all__ = ["PACKAGES", "find_environment", "make_environment", "pinned_packages", "run_in"]

PACKAGES = ("litert-torch==0.10.0", "ai-edge-litert==2.3.0", "ai-edge-quantizer==0.10.0", "annotated-types==0.8.0")
SHARED = ("torch", "torchvision", "timm", "safetensors", "psutil")
OVERRIDES = ("torch", "typing-extensions>=4.13")
NEEDED_GB = 8.0

Tell = Callable[[str], None]
"""Told in a line what is going on."""


def find_environment(cache: Path) -> Path | None:
    """The interpreter of the finished environment under `cache`, None if there is none of these versions."""
    folder = _folder(cache)
    return folder / "bin" / "python" if folder.is_dir() else None


def make_environment(cache: Path, tell: Tell) -> Path:
    """The interpreter of the environment under `cache`, made if it is not there.

    Raises:
        BackendError: uv is missing, the disk is too full, or a package cannot be installed; uv's last line is quoted.
    """
    found = find_environment(cache)
    if found is not None:
        return found
    folder = _folder(cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    free_gb = shutil.disk_usage(folder.parent).free / 1e9
    if free_gb < NEEDED_GB:
        raise BackendError(f"LiteRT's environment needs {NEEDED_GB:g} GB, {folder.parent} has {free_gb:.1f}: free space")
    build_once(folder, lambda place: _install(place, tell))
    return folder / "bin" / "python"


def run_in(python: Path, job: Mapping[str, Any], *, tell: Tell = lambda line: None) -> dict[str, Any]:
    """Do a job of `litert_worker` in the environment; returns its answer.

    Raises:
        BackendError: it failed; its last line is quoted.
    """
    with tempfile.TemporaryDirectory(prefix="paretolens-litert-") as name:
        folder = Path(name)
        (folder / "paretolens").symlink_to(Path(paretolens.__file__).parent)  # this package alone, none of its neighbours
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [str(python), "-W", "ignore", "-m", "paretolens.exporters.litert_worker", str(folder)]
        _follow(command, tell, f"LiteRT could not {job['do']} {Path(str(job['model'])).name}", path=folder)
        answer: dict[str, Any] = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return answer


def _folder(cache: Path) -> Path:
    return cache / "litert" / hashlib.sha256(json.dumps(pinned_packages()).encode()).hexdigest()[:12]


def pinned_packages() -> list[str]:
    """Every pinned package; those that build the model are the ones of this environment."""
    return [*PACKAGES, *(f"{name}=={importlib.metadata.version(name)}" for name in SHARED)]


def _install(folder: Path, tell: Tell) -> None:
    program = shutil.which("uv")
    uv = [program] if program else [sys.executable, "-m", "uv"]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    overrides = folder / "overrides.txt"
    lines = [next((pin for pin in pinned_packages() if pin.startswith(f"{name}==")), name) for name in OVERRIDES]
    wrong = "LiteRT's environment could not be made"
    _follow([*uv, "venv", "--quiet", "--relocatable", "--allow-existing", "--python", version, str(folder)], tell, wrong)
    overrides.write_text("\n".join(lines) + "\n", encoding="utf-8")
    python = str(folder / "bin" / "python")
    _follow([*uv, "pip", "install", "--python", python, "--override", str(overrides), *pinned_packages()], tell, wrong)


def _follow(command: list[str], tell: Tell, wrong: str, path: Path | None = None) -> None:
    """Run a command, telling each line it prints.

    Raises:
        BackendError: it ended badly; `wrong` and its last line are said.
    """
    variables = {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"} if path else {}
    last: deque[str] = deque(maxlen=1)

    try:
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **variables},
        ) as process:
            for line in process.stdout or ():
                if line.strip():
                    last.append(line.strip())
                    tell(line.strip())
    except OSError as error:
        raise BackendError(f"{wrong}: {error.strerror}; install uv (pip install uv)") from error
    if process.returncode:
        raise BackendError(f"{wrong}: {last[0] if last else f'exit code {process.returncode}'}")
