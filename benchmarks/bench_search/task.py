"""The task that every arm of the comparison works on: one configuration, one prepared cache, one list of genomes."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from paretolens.data.store import digest_of_json
from paretolens.search.config import Config, load_config
from paretolens.search.progress import Steps
from paretolens.search.stage_keys import code_digest
from paretolens.search.task import Task
from paretolens.search.workspace import Workspace
from paretolens.spaces.knobs import Space

__all__ = ["Plan", "arm_config", "copy_cache", "prepare"]


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


def arm_config(folder: Path, plan: Plan, changes: Mapping[str, Any]) -> Path:
    """Write the configuration of an arm and return its file."""
    tree = plan.tree()
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, Mapping) else value
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(tree)), sort_keys=False), encoding="utf-8")
    return path


def prepare(folder: Path, plan: Plan, steps: Steps) -> tuple[Config, Task]:
    """Data, teacher and the teacher's outputs, once for all arms; read back the second time."""
    config = load_config(file=arm_config(folder, plan, {}), flags={})
    return config, Task.prepare(config, Workspace.at(folder / "runs"), steps)


def copy_cache(source: Path, target: Path) -> None:
    """Give an arm's workspace what was prepared, but none of the stages that other arms trained."""
    for kind in (source / "cache").iterdir():
        if kind.is_dir() and kind.name != "stages" and not (target / "cache" / kind.name).exists():
            shutil.copytree(kind, target / "cache" / kind.name, copy_function=os.link)
