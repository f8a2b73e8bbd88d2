"""Names of trained stages by all that shapes them, so that equal names are equal weights.

student  code, family, input, its knobs, seed, device
head     parent, distillation knobs, training settings, clips, teacher
distill  parent, distillation knobs, training settings, clips, teacher
prune    parent, prune ratio, pruning and repair settings
factorise  parent, energy, settings of low rank and repair
align    parent, its knobs, training settings, the teacher's evidence
qat      parent, quantiser and training settings
"""

import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretolens.data.store import digest_of_json
from paretolens.search import schema
from paretolens.search.origin import library_versions, source_digest
from paretolens.search.placement import placed
from paretolens.search.task import Task
from paretolens.spaces.knobs import Genome, Stage
from paretolens.spaces.stages import stages_of

__all__ = ["code_digest", "stage_keys"]

_SOURCES = ("models", "trainers", "spaces", "data", "search/stages.py", "search/score.py")
_LIBRARIES = ("torch", "torchvision", "timm", "torch-pruning", "tensorly", "numpy", "scipy")
_LENGTH = 32


def stage_keys(genome: Genome, task: Task) -> dict[str, str]:
    """Stage → key, for the stages that this genome goes through, in order; 32 hexadecimal digits each."""
    parent, keys, contents = _key("student", "", _student(genome, task)), {}, _contents(genome, task)
    for stage in stages_of(genome):
        parent = keys[stage] = _key(stage, parent, contents[stage])
    return keys


def _key(stage: str, parent: str, content: Mapping[str, Any]) -> str:
    return digest_of_json({"stage": stage, "parent": parent, **content})[:_LENGTH]


def _student(genome: Genome, task: Task) -> dict[str, Any]:
    return {
        "code": code_digest(type(task.family)),
        "family": task.config.family,
        "signature": schema.to_plain(task.signature),
        "knobs": _knobs(genome, task, *(stage for stage in Stage if stage not in _LATER)),
        "seed": task.config.seed,
        "device": task.device.type,
    }


def _contents(genome: Genome, task: Task) -> dict[str, dict[str, Any]]:
    """What each stage adds, also those that a genome passes over."""
    config, student = task.config, schema.to_plain(task.config.student)
    where = schema.to_plain(placed(config.student.quantise, config.latency.backend)) if "qat" in stages_of(genome) else None
    return {
        "head": {
            "knobs": _knobs(genome, task, Stage.DISTILL),
            "settings": [student["head"], student["mirror"]],
            "clips": [task.samples["train"].fingerprint, task.samples["val"].fingerprint],
            "teacher": task.outputs.fingerprint,
        },
        "distill": {
            "knobs": _knobs(genome, task, Stage.DISTILL),
            "settings": [student["distill"], student["mirror"]],
            "clips": [task.samples["train"].fingerprint, task.samples["val"].fingerprint],
            "teacher": task.outputs.fingerprint,
        },
        "prune": {"knobs": _knobs(genome, task, Stage.PRUNE), "settings": [student["prune"], student["repair"]]},
        "factorise": {"knobs": _knobs(genome, task, Stage.FACTORISE), "settings": [student["low_rank"], student["repair"]]},
        "align": {
            "knobs": _knobs(genome, task, Stage.ALIGN),
            "settings": student["align"],
            "evidence": task.paths.fingerprint if task.paths is not None else None,
        },
        "qat": {"knobs": _knobs(genome, task, Stage.QUANTISE), "settings": [where, student["qat"]]},
    }


_LATER = (Stage.DISTILL, Stage.PRUNE, Stage.FACTORISE, Stage.ALIGN, Stage.QUANTISE, Stage.SETTLE)


def _knobs(genome: Genome, task: Task, *stages: Stage) -> dict[str, Any]:
    """The genes of some stages that have an effect."""
    active = task.space.active(genome)
    return {knob.name: active[knob.name] for knob in task.space.knobs if knob.stage in stages and knob.name in active}


@functools.cache
def code_digest(family: type) -> str:
    """SHA-256 of all that trains: the sources of models, trainers, spaces, data, of the stages themselves and of a family kept
    elsewhere; the versions of the libraries that they compute with.
    """
    own = inspect.getsourcefile(family)
    sources = source_digest(_SOURCES, *([Path(own)] if own else []))
    return digest_of_json({"sources": sources, "libraries": library_versions(_LIBRARIES)})
