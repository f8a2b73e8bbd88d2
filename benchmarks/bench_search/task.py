"""The task that every arm of the comparison works on: one configuration, one prepared cache, one list of genomes."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

import paretolens
from paretolens.data.store import digest_of_json
from paretolens.evaluators.latency.device import cpu_name
from paretolens.search.config import Config, load_config
from paretolens.search.origin import library_versions, source_digest
from paretolens.search.progress import Steps, Update
from paretolens.search.stage_keys import code_digest
from paretolens.search.task import Task
from paretolens.search.workspace import Workspace
from paretolens.spaces.knobs import Space

__all__ = ["Plan", "arm_config", "copy_cache", "date_of", "made_with", "once_of", "prepare"]

HERE = Path(__file__).parents[1]
LIVE = ("bench_search/arms.py", "bench_search/plain.py", "bench_search/task.py", "bench_eps/plain.py")
"""Code of the arms beside the package."""
LIBRARIES = ("captum", "mlflow", "numpy", "onnxruntime", "optuna", "ray", "scipy", "torch")
ONCE = "once.json"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared, and on how much."""

    genomes: int
    """Genomes that every arm evaluates."""
    clips: int
    """Training clips."""
    epochs: int
    """Epochs of distillation; pruning and quantisation add one each."""
    samples: int
    """Explained clips."""
    limit: str
    """The most that a student may take, as a share of the teacher's latency."""
    workers: int = 2
    """Trials at once, one thread each; arm (b) has one process with as many threads."""
    captum_steps: int = 50
    """Gradients per map in the plain recipe: Captum's default. The engine takes fewer and places them where the logit moves."""

    def tree(self) -> dict[str, Any]:
        """The configuration over the default preset."""
        small = max(48, self.clips // 3)
        return {
            "data": {"train": self.clips, "val": small, "test": max(24, small // 2), "unseen": 16},
            "teacher": {"epochs": max(2, self.epochs)},
            "student": {"distill": {"epochs": self.epochs}},
            "eps": {"samples": self.samples, "population": "all"},
            "limits": {"latency_ms": self.limit},
            "first": [],
            "search": {"workers": self.workers, "trials": self.genomes},
        }

    def digest(self) -> str:
        """Names what was measured: figures of another plan, or of other code that trains, are not mixed in."""
        return digest_of_json({"plan": asdict(self), "code": code_digest(Space)})[:12]


def made_with(*more: str) -> str:
    """Names the code, the libraries and the machine that figures come from; figures of others are not kept.

    Args:
        more: files under benchmarks/ beside those of the arms.
    """
    here = Path(paretolens.__file__).parent
    rooms = sorted(path.name for path in here.iterdir() if path.is_dir() and path.name != "__pycache__")
    code = source_digest(rooms, *(HERE / name for name in (*LIVE, *more)))
    return digest_of_json({"code": code, "libraries": library_versions(LIBRARIES), "machine": [cpu_name(), os.cpu_count()]})


def date_of(path: Path) -> str:
    """When a file was written, for people."""
    return datetime.fromtimestamp(path.stat().st_mtime).astimezone().strftime("%d %B %Y, %H:%M")


def arm_config(folder: Path, plan: Plan, changes: Mapping[str, Any]) -> Path:
    """Write the configuration of an arm and return its file."""
    tree = plan.tree()
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, Mapping) else value
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(tree)), sort_keys=False), encoding="utf-8")
    return path


class _TimedSteps:
    """Passes on, and remembers how long each step took."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Update]:
        """Pass on."""
        began = time.monotonic()
        with self._steps.step(name) as update:
            yield update
        self.seconds[name] = time.monotonic() - began

    def note(self, text: str) -> None:
        """Pass on."""
        self._steps.note(text)


def prepare(folder: Path, plan: Plan, steps: Steps) -> tuple[Config, Task]:
    """Data, teacher and the teacher's outputs, once for all arms; read back the second time."""
    config, timed = load_config(file=arm_config(folder, plan, {}), flags={}), _TimedSteps(steps)
    task = Task.prepare(config, Workspace.at(folder / "runs"), timed)
    before = once_of(folder)
    longest = {name: max(seconds, before.get(name, 0.0)) for name, seconds in timed.seconds.items()}
    (folder / ONCE).write_text(json.dumps(longest))
    return config, task


def once_of(folder: Path) -> dict[str, float]:
    """Step of the preparation → seconds when it was really done: the longest of all times, others only read it back."""
    path = folder / ONCE
    return dict(json.loads(path.read_text())) if path.exists() else {}


def copy_cache(source: Path, target: Path) -> None:
    """Give an arm's workspace what was prepared, but none of the stages that other arms trained."""
    for kind in (source / "cache").iterdir():
        if kind.is_dir() and kind.name != "stages" and not (target / "cache" / kind.name).exists():
            shutil.copytree(kind, target / "cache" / kind.name, copy_function=os.link)
