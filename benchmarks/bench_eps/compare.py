"""One case: the plain recipe and ours, at the same definition and at the default setting of each."""

import inspect
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import nn

from bench_eps.cases import Case
from bench_eps.goal import Goal
from bench_eps.plain import Maps, all_plain_maps, plain_eps, plain_maps
from paretolens.evaluators.eps import EpsSettings, Population, TeacherReference, score_eps
from paretolens.evaluators.validation.subject import some_samples
from paretolens.search.config import load_config
from paretolens.search.task import REFERENCE_NODES
from paretolens.trainers.quantise import quantisers_off

__all__ = ["SAME", "compare"]

STEPS: int = inspect.signature(CaptumIntegratedGradients.attribute).parameters["n_steps"].default
"""Steps of the plain recipe where nobody sets them."""
EXACT = {"nodes": 96, "doublings": 1, "tolerance": 0.01, "pixels": False}
"""What both defaults are held against."""
FASTER = {"image": 6.0, "audio-visual": 4.0}
"""How many times as fast the same definition has to be."""
FASTER_BY_DEFAULT, CLOSE, SAME = 10.0, 0.01, 1e-5


@dataclass(frozen=True, kw_only=True)
class Teachers:
    """The teacher's side of each recipe; seconds are of the plain one."""

    plain: Maps
    plain_s: float
    same: TeacherReference
    usual: Maps
    usual_s: float
    full: TeacherReference
    exact: TeacherReference | None
    second: TeacherReference | None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is compared, and how often it is measured."""

    same: EpsSettings
    default: EpsSettings
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came out for one student."""

    apart: float
    equal: float
    quick: float
    off: float


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work gives, and its CPU seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def in_turns(rounds: int, **works: Callable[[], Any]) -> dict[str, tuple[Any, float]]:
    """What each work gives, and the median of its CPU seconds; they take turns, in the opposite order every other time."""
    results: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds):
        for name, work in list(works.items())[:: -1 if turn % 2 else 1]:
            results[name], taken = timed(work)
            seconds[name].append(taken)
    return {name: (results[name], statistics.median(seconds[name])) for name in works}


def warm(model: nn.Module, case: Case, settings: EpsSettings) -> None:
    """Let both recipes explain a little with a model, forward and backward."""
    few = some_samples(case.explained, torch.arange(min(2, len(case.explained))))
    with quantisers_off(model):
        plain_maps(model, case, 0, settings)
        TeacherReference.compute(model, few, settings)


def teachers(case: Case, same: EpsSettings, default: EpsSettings) -> Teachers:
    """Explain with the teacher in every way that is compared; each sum is over all samples, and is taken once."""
    compute = partial(TeacherReference.compute, case.teacher, case.explained)
    plain, plain_s = timed(partial(all_plain_maps, case.teacher, case, same))
    usual, usual_s = timed(partial(all_plain_maps, case.teacher, case, replace(same, nodes=STEPS)))
    reference, ours_s = timed(partial(compute, same))
    for nodes, seconds in ((same.nodes, plain_s), (STEPS, usual_s)):
        say(f"  teacher, plain recipe   {nodes:3} steps {seconds:7.2f} s   {1e3 * seconds / len(case.explained):6.1f} ms each")
    say(f"  teacher, ours, once a study       {ours_s:7.2f} s")
    other = default.of_second()
    return Teachers(
        plain=plain,
        plain_s=plain_s,
        same=reference,
        usual=usual,
        usual_s=usual_s,
        full=compute(replace(default, nodes=max(REFERENCE_NODES, default.nodes))),
        exact=compute(replace(default, **EXACT)) if case.trained else None,
        second=None if other is None else compute(other),
    )


def compare_student(case: Case, student: nn.Module, known: Teachers, settings: Settings) -> Found:
    """Print one student."""
    same, default, rounds = settings.same, settings.default, settings.rounds

    def score(reference: TeacherReference, settings: EpsSettings | None = None) -> float:
        return score_eps(student, reference, settings).eps

    def plainly(theirs: Maps, nodes: int) -> float:
        settings = replace(same, nodes=nodes)
        return plain_eps(case, theirs, all_plain_maps(student, case, settings), settings)

    works = {
        "plain": partial(plainly, known.plain, same.nodes),
        "ours": partial(score, known.same),
        "usual": partial(plainly, known.usual, STEPS),
        "quick": partial(score, known.full, default),
    }
    found = in_turns(rounds, **works, **({} if known.second is None else {"second": partial(score, known.second)}))
    (plain, plain_s), (ours, ours_s), (usual, usual_s), (quick, quick_s) = (found[name] for name in works)
    plain_s, usual_s = plain_s + known.plain_s, usual_s + known.usual_s
    far = f"|dEPS| {abs(ours - plain):.1e}"
    say(f"    plain recipe, {same.nodes:3} steps   EPS {plain:.6f}   {plain_s:7.2f} s")
    say(f"    same, teacher cached      EPS {ours:.6f}   {ours_s:7.2f} s   {plain_s / ours_s:5.1f}x   {far}")
    say(f"    plain recipe, {STEPS:3} steps   EPS {usual:.6f}   {usual_s:7.2f} s")
    note = f"{default.nodes} nodes, placed; pixel maps too"
    say(f"    default of a search       EPS {quick:.6f}   {quick_s:7.2f} s   {usual_s / quick_s:5.1f}x   ({note})")
    if known.second is not None:
        second, second_s = found["second"]
        say(f"    and {known.second.settings.explainer:<21} EPS {second:.6f}   {second_s:7.2f} s   (the second explainer)")
    best = float("nan") if known.exact is None else score(known.exact)
    if known.exact is not None:
        off = f"default off by {quick - best:+.4f}, plain by {usual - best:+.4f}"
        say(f"    at {EXACT['nodes']} nodes              EPS {best:.6f}   {off}")
    return Found(apart=abs(ours - plain), equal=plain_s / ours_s, quick=usual_s / quick_s, off=abs(quick - best))


def compare(case: Case, nodes: int, rounds: int) -> list[Goal]:
    """Print one case, student by student; the slowest and the mean difference count."""
    same = EpsSettings(population=Population.ALL, change_share=0.0, nodes=nodes, probes=0, doublings=0, pixels=False)
    default = replace(load_config(flags={}).eps, population=Population.ALL, change_share=0.0)
    for model in (case.teacher, *case.students.values()):
        warm(model, case, same)
    say(f"{case.name}: {len(case.explained)} samples")
    known, found = teachers(case, same, default), []
    for name, student in case.students.items():
        say(f"  {name}")
        with quantisers_off(student):
            found.append(compare_student(case, student, known, Settings(same=same, default=default, rounds=rounds)))
    at_least, at_most = partial(Goal, at_least=True), partial(Goal, at_least=False)
    slowest = {part: min(getattr(one, part) for one in found) for part in ("equal", "quick")}
    goals = [
        at_most(text=f"{case.name}, same definition: difference", reached=max(one.apart for one in found), wanted=SAME),
        at_least(text=f"{case.name}, same definition: times as fast", reached=slowest["equal"], wanted=FASTER[case.name]),
        at_least(text=f"{case.name}, default settings: times as fast", reached=slowest["quick"], wanted=FASTER_BY_DEFAULT),
    ]
    if case.trained:
        text = f"{case.name}, default setting: mean |dEPS| to {EXACT['nodes']} nodes"
        goals.append(at_most(text=text, reached=float(np.mean([one.off for one in found])), wanted=CLOSE))
    return goals
