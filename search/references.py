"""Teachers trained again with other seeds: what EPS an equally good detector has that was never shown the teacher's maps.

It is no ceiling: a student that shares weights with the teacher, such as a rounded copy, scores above it.
"""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from paretolens.data.bootstrap import nanmean_interval
from paretolens.data.store import build_once, digest_of_json
from paretolens.evaluators.eps import EpsScore, score_eps
from paretolens.models.record import load_model
from paretolens.search.origin import EXPLAINING, source_digest
from paretolens.search.progress import Update
from paretolens.search.stored import read_json
from paretolens.search.task import Task, trained_teacher
from paretolens.trainers.device import moved
from paretolens.trainers.distributed import World

__all__ = ["RetrainedTeachers", "retrained_teachers"]

_FIRST_SEED = 1000
_SOURCES = (*EXPLAINING, "search/references.py")
"""What a score depends on beside models and clips."""


@dataclass(frozen=True, kw_only=True)
class RetrainedTeachers:
    """EPS of retrained teachers against the study's teacher."""

    mean: float
    """Mean over teachers and clips."""
    low: float
    """Lower end of the 95 % interval over source clips."""
    high: float
    """Upper end."""
    values: tuple[float, ...]
    """EPS of each."""
    trained: int
    """How many were trained for this call; the others were kept from before."""
    scored: bool
    """Whether they were scored for this call."""

    @property
    def effort(self) -> str:
        """What was done for this call, in words."""
        kept = len(self.values) - self.trained
        parts = [f"{self.trained} trained"] if self.trained else []
        parts += [f"{kept} kept from before and not trained again"] if kept else []
        return f"{', '.join(parts)}; {'scored now' if self.scored else 'scores kept too'}"

    def metrics(self) -> dict[str, float]:
        """By the names that the study's run keeps them by; the first is the line in every EPS plot."""
        return {"eps_reference": self.mean, "eps_reference_low": self.low, "eps_reference_high": self.high}


def retrained_teachers(task: Task, count: int, update: Update, *, again: bool = False) -> RetrainedTeachers:
    """Train, or read back, `count` teachers that differ from the study's in their seed only, and score them.

    Each teacher is content-addressed like the study's own, so that an interrupted call goes on where it was. `again` scores them
    again; it does not train them again.
    """
    folders, trained = [], set[int]()
    for number in range(count):
        config = replace(task.config, seed=task.config.seed + _FIRST_SEED + number)

        def told(done: int, total: int, note: str, number: int = number) -> None:
            trained.add(number)
            update(number * total + done, count * total, f"teacher {number + 1} of {count}, {note}")

        folders.append(trained_teacher(config, task.workspace, task.samples, told, world=World(device=task.device)))
    plain = {
        "teacher": task.teacher_folder.name,
        "retrained": [folder.name for folder in folders],
        "eps": task.config.eps.record(),
        "explained": [int(row) for row in task.reference.explained.indices],
        "code": source_digest(_SOURCES),
    }
    place = task.workspace.cache / "references" / digest_of_json(plain)[:24]
    if again:
        shutil.rmtree(place, ignore_errors=True)
    scored = not place.is_dir()
    build_once(place, lambda folder: _score(task, folders, folder))
    stored = read_json(place / "reference.json", "mean", "low", "high", "values", entry=place)
    return RetrainedTeachers(**{**stored, "values": tuple(stored["values"])}, trained=len(trained), scored=scored)


def _scored(task: Task, teacher: nn.Module) -> EpsScore:
    with moved(task.device, teacher):
        return score_eps(teacher, task.reference, task.config.eps)


def _score(task: Task, folders: list[Path], place: Path) -> None:
    scores = [_scored(task, load_model(folder).eval()) for folder in folders]
    settings = task.config.eps
    mean = nanmean_interval(
        np.mean([score.samples.eps for score in scores], axis=0), np.asarray(task.reference.explained.groups),
        resamples=settings.resamples, confidence=settings.confidence, seed=settings.seed,
    )  # fmt: skip
    values = [score.eps for score in scores]
    content = {"mean": mean.mean, "low": mean.low, "high": mean.high, "values": values}
    (place / "reference.json").write_text(json.dumps(content), encoding="utf-8")
