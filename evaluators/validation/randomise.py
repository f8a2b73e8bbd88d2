"""Cascading randomisation: a map that outlives its model's weights explains nothing (Adebayo et al. 2018, section 3.1).

The teacher's parts are replaced, from the verdict towards the inputs, by those of a model that was never trained. A read-out that
was never trained takes sides by chance. EPS takes the evidence for the teacher's verdict, so that on half of the clips such a
model would be judged by what speaks against its own, and the mean over seeds would follow their luck. Here each clip shows the
evidence for the side that the model itself moves to, also of the untrained models in the end.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretolens.evaluators.eps import TeacherReference
from paretolens.evaluators.eps.proxy import clip_scores
from paretolens.evaluators.eps.reference import device_of
from paretolens.evaluators.explain import end_logits, held_still
from paretolens.evaluators.validation.check import Check, Tick
from paretolens.evaluators.validation.subject import Subject

__all__ = ["Keep", "check_cascade", "randomised", "stages_of"]

Floats = NDArray[np.float64]
Levels = Mapping[str, float]
"""EPS of one model: `eps`, and each modality's by its name."""
Keep = Callable[[str, Callable[[], list[dict[str, float]]]], list[dict[str, float]]]
"""(name, work): what the work gives, or gave in an earlier run that was interrupted."""


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


def check_cascade(subject: Subject, tick: Tick, keep: Keep = lambda _, work: work(), seeds: int = 8) -> Check:
    """EPS after each stage, mean over seeds: never rising by more than two standard errors, ending at the untrained level."""
    stages = stages_that_matter(subject)
    each = [partial(cascade, subject, stages, seed, tick, seeds) for seed in range(seeds)]
    found = [keep(f"cascade-{seed}", work) for seed, work in enumerate(each)]
    return judged(stages, found)


def stages_that_matter(subject: Subject) -> list[str]:
    """Those of `stages_of` that change the teacher's logit."""
    fresh, clips = subject.fresh_teacher(0), subject.quick
    return [
        stage
        for stage in stages_of(subject.teacher)
        if not torch.equal(moves(randomised(subject.teacher, fresh, [stage]), clips), moves(subject.teacher, clips))
    ]


def cascade(subject: Subject, stages: Sequence[str], seed: int, tick: Tick, seeds: int) -> list[dict[str, float]]:
    """EPS after each stage, then that of another model that was never trained."""
    fresh, each = subject.fresh_teacher(1000 + seed), len(stages) + 1
    found = []
    for count in range(1, each + 1):
        trained = count <= len(stages)
        model = randomised(subject.teacher, fresh, list(stages[:count])) if trained else subject.fresh_teacher(2000 + seed)
        found.append(levels(model.eval(), subject.quick))
        tick(seed * each + count, seeds * each)
    return found


def levels(model: nn.Module, reference: TeacherReference) -> dict[str, float]:
    """EPS of a model by the evidence for its own side on each clip: `eps`, and each modality's by its name."""
    rows = reference.eligible.nonzero()[:, 0]
    sign = (reference.side * torch.where(moves(model, reference) < 0, -1.0, 1.0))[rows]
    scores = clip_scores(model, reference, rows, reference.settings, sign)
    each = dict(zip(reference.modalities, scores.nanmean(dim=0).tolist(), strict=True))
    return {"eps": float(scores.nanmean(dim=1).nanmean()), **each}


def moves(model: nn.Module, reference: TeacherReference) -> Tensor:
    """(n,) float64, how far the logit goes from the baseline towards the teacher's verdict."""
    explained, device = reference.explained, device_of(model)
    with held_still(model):
        inputs = [x.to(device) for x in explained.inputs]
        logit, start = end_logits(model, inputs, explained.baseline, reference.settings.chunk)
    return reference.side * (logit - start)


def judged(stages: Sequence[str], found: Sequence[Sequence[Levels]]) -> Check:
    """The verdict over what `cascade` gave for each seed."""
    curves = np.array([[1.0, *(level["eps"] for level in one[:-1])] for one in found])
    floor = np.array([one[-1]["eps"] for one in found])
    steps = np.diff(curves, axis=1)
    rises = steps.mean(0) - 2.0 * standard_error(steps)
    end, level = curves[:, -1], float(floor.mean())
    away = abs(float(end.mean()) - level)
    allowed = 2.0 * float(np.hypot(standard_error(end), standard_error(floor)))
    shown = " → ".join(f"{name} {value:.2f}" for name, value in zip(("all trained", *stages), curves.mean(0), strict=True))
    parts = {name: np.array([[one[name] for one in seed] for seed in found]).mean(0) for name in found[0][0] if name != "eps"}
    each = "; ".join(f"{name} " + " → ".join(f"{value:.2f}" for value in values[:-1]) for name, values in parts.items())
    return Check(
        name="cascading randomisation",
        measured=f"{shown}; untrained {level:.2f} (away {away:.3f}, 2 SE {allowed:.3f}, {len(found)} seeds)"
        + (f". By modality: {each}" if len(parts) > 1 else ""),
        expected="no rise beyond 2 SE, ends at the untrained level",
        passed=bool((rises <= 0).all()) and away <= allowed,
        figures={
            "end": float(end.mean()),
            "untrained": level,
            "largest_rise": float(steps.mean(0).max()),
            **{f"after {name}": float(value) for name, value in zip(stages, curves.mean(0)[1:], strict=True)},
        },
    ).unless_undefined("both models' maps are constant on all clips, so that there is nothing to compare")


def standard_error(values: Floats) -> Floats:
    """Of the mean over the first axis."""
    error: Floats = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return error
