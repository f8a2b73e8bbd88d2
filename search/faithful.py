"""Is what the front's members preserve also right? Deletion, insertion and pointing of the members, the teacher and a control."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paretolens.data.store import build_once, digest_of_json
from paretolens.evaluators.eps import score_eps
from paretolens.evaluators.faithfulness import Truth, measure_faithfulness, play_pointing, teacher_grids, true_cells
from paretolens.mlflow.front import Front
from paretolens.mlflow.names import teacher_metrics
from paretolens.mlflow.tracking import Tracker
from paretolens.models.record import load_model
from paretolens.search.finish import trial_folder
from paretolens.search.origin import BUILDING, EXPLAINING, source_digest
from paretolens.search.progress import Steps
from paretolens.search.stored import read_json
from paretolens.search.study import Study
from paretolens.search.task import Task
from paretolens.search.trial import MAPS
from paretolens.trainers.device import moved
from paretolens.trainers.quantise import quantisers_off

__all__ = ["faithfulness_pass", "member_faithfulness", "truth_of"]

_SOURCES = (*EXPLAINING, *BUILDING, "evaluators/faithfulness", "search/faithful.py")
"""What the figures depend on beside models and clips."""
_CURVE_CLIPS = 24
"""Clips of the deletion and insertion curves, which cost 16 forward passes each."""


def truth_of(task: Task) -> Truth:
    """Where the explained clips were manipulated: marked regions, and periods of the sound."""
    val = task.samples["val"]
    clip = val.preprocessing.clip
    rate = None if clip is None else clip.audio.frames_per_second
    return true_cells(task.reference, val.periods[task.reference.explained.indices], audio_rate=rate)


def faithfulness_pass(study: Study, task: Task, found: Front, tracker: Tracker, steps: Steps) -> None:
    """Log the figures of each member, and on the study's run those of the teacher and of untrained students."""
    members = found.members.to_dict("records")
    with steps.step("faithfulness") as update:
        truth = truth_of(task)
        known = _teacher_and_control(task, truth)
        control = {"pointing_hit_untrained": known["untrained"]} if known["untrained"] is not None else {}
        tracker.log_study({**teacher_metrics(known["teacher"]), **control})
        for number, row in enumerate(members):
            figures = member_faithfulness(task, trial_folder(study, row), truth)
            tracker.log_trial(str(row["trial"]), {**figures, **control})
            update(number + 1, len(members), f"{len(members)} members and the teacher")


def member_faithfulness(task: Task, folder: Path, truth: Truth) -> dict[str, float]:
    """Figures of one trial's student, explained as its float twin, by the maps it was scored with."""
    model = load_model(folder / "model").eval()
    with quantisers_off(model), moved(task.device, model):
        grids = _maps(task, folder, model)
        return measure_faithfulness(model, task.reference, grids, truth, limit=_CURVE_CLIPS).metrics()


def _maps(task: Task, folder: Path, model: nn.Module) -> dict[str, Tensor]:
    if not (folder / MAPS).exists():  # a trial of an earlier version
        grids = score_eps(model, task.reference, task.config.eps).samples.grids
        return {name: torch.from_numpy(values) for name, values in grids.items()}
    with np.load(folder / MAPS, allow_pickle=False) as stored:
        return {name: torch.from_numpy(stored[name]) for name in task.reference.modalities}


def _teacher_and_control(task: Task, truth: Truth) -> dict[str, Any]:
    """The teacher's figures and the mean hit rate of the untrained students that make the floor; cached."""
    plain = {
        "code": source_digest(_SOURCES),
        "teacher": task.teacher_folder.name,
        "eps": task.reference.settings.record(),
        "explained": [int(row) for row in task.reference.explained.indices],
        "genome": task.space.default(),
        "seeds": task.config.floor.seeds,
    }
    place = task.workspace.cache / "faithfulness" / digest_of_json(plain)[:24]

    def measure(folder: Path) -> None:
        grids = teacher_grids(task.reference)
        with moved(task.device, task.teacher):
            teacher = measure_faithfulness(task.teacher, task.reference, grids, truth, limit=_CURVE_CLIPS).metrics()
        content = {"teacher": teacher, "untrained": _untrained_hits(task, truth)}
        (folder / "faithfulness.json").write_text(json.dumps(content), encoding="utf-8")

    build_once(place, measure)
    return read_json(place / "faithfulness.json", "teacher", "untrained", entry=place)


def _untrained_hits(task: Task, truth: Truth) -> float | None:
    """Mean hit rate of untrained students; None where no clip has a known region."""
    settings = replace(task.config.eps, nodes=4, probes=0, doublings=0, pixels=False)
    hits = []
    for seed in range(1, task.config.floor.seeds + 1):
        student = task.family.student(task.space.default(), task.signature, seed=seed).to(task.device)
        grids = score_eps(student, task.reference, settings).samples.grids
        games = play_pointing(task.reference, {name: torch.from_numpy(maps) for name, maps in grids.items()}, truth)
        hits += [game.hits for game in games.values()]
    known = np.concatenate(hits)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else None
