"""Cascading randomisation: a map that outlives its model's weights explains nothing (Adebayo et al. 2018, section 3.1).

The teacher's parts are replaced, from the verdict towards the inputs, by those of a model that was never trained.
"""

from copy import deepcopy

import numpy as np
from torch import nn

from paretolens.evaluators.validation.check import Check, Tick
from paretolens.evaluators.validation.subject import Subject

__all__ = ["check_cascade", "randomised", "stages_of"]


def stages_of(model: nn.Module) -> list[str]:
    """Names of the parts with parameters, output first: the children in reverse order of definition, lists taken apart."""
    names: list[str] = []
    for name, child in model.named_children():
        inner = [f"{name}.{part}" for part, _ in child.named_children()] if isinstance(child, nn.ModuleList) else [name]
        names += [part for part in inner if any(True for _ in model.get_submodule(part).parameters())]
    return names[::-1]


def randomised(model: nn.Module, fresh: nn.Module, parts: list[str]) -> nn.Module:
    """A copy of the model with some parts (parameters and buffers) of another of the same shape."""
    copy = deepcopy(model)
    for part in parts:
        copy.get_submodule(part).load_state_dict(fresh.get_submodule(part).state_dict())
    return copy.eval()


def check_cascade(subject: Subject, tick: Tick, seeds: int = 4) -> Check:
    """EPS after each stage, mean over seeds: never rising by more than two standard errors, ending at the untrained level."""
    stages = stages_of(subject.teacher)
    total, done = seeds * (len(stages) + 1), 0
    curves, floor = np.ones((seeds, len(stages) + 1)), np.zeros(seeds)
    for seed in range(seeds):
        fresh = subject.fresh_teacher(1000 + seed)
        for stage in range(len(stages)):
            curves[seed, stage + 1] = subject.score(randomised(subject.teacher, fresh, stages[: stage + 1]))
            tick(done := done + 1, total)
        floor[seed] = subject.score(subject.fresh_teacher(2000 + seed).eval())
        tick(done := done + 1, total)
    return judged(curves, floor)


def judged(curves: np.ndarray, floor: np.ndarray) -> Check:
    """The verdict over curves (seeds, stages + 1) and untrained models (seeds,)."""
    steps = np.diff(curves, axis=1)
    rises = steps.mean(0) - 2.0 * standard_error(steps)
    end, level = curves[:, -1], float(floor.mean())
    away = abs(float(end.mean()) - level)
    allowed = 2.0 * float(np.hypot(standard_error(end), standard_error(floor)))
    shown = " → ".join(f"{value:.2f}" for value in curves.mean(0))
    return Check(
        name="cascading randomisation",
        measured=f"{shown}; untrained {level:.2f} (away {away:.3f}, 2 SE {allowed:.3f})",
        expected="no rise beyond 2 SE, ends at the untrained level",
        passed=bool((rises <= 0).all()) and away <= allowed,
        figures={"end": float(end.mean()), "untrained": level, "largest_rise": float(steps.mean(0).max())},
    )


def standard_error(values: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis."""
    error: np.ndarray = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return error
