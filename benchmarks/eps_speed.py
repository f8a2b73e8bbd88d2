"""EPS against the plain recipe, side by side in one run: the same definition, the same nodes, the same score.

The plain recipe explains teacher and student with Captum, sample by sample, and compares them with SciPy. Ours keeps the
teacher's maps and scores the student in chunks. Times are CPU seconds of this process: both are warmed up with gradients, then
take turns, and the median of three counts. The image detectors are trained here for a few seconds on planted patches. The
audio-visual ones are the teacher and members of the front of the workspace's last study, on clips of its test split; without a
study, untrained ones of the default task's shapes, so that only times and parity count.

    python benchmarks/eps_speed.py [--samples 12] [--nodes 16] [--threads 1] [--workspace runs] [--memory]
    python benchmarks/eps_speed.py --teacher A --student B --data DIR       # any pair, as `paretolens eps` takes them

Ends with the goals and whether they hold; exit code 1 if the two recipes' scores differ by more than 1e-5,
or if --memory misses one.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_eps.cases import Case, image_case, named_case, pinpoint_case, study_case
from bench_eps.goal import Goal
from bench_eps.memory import memory
from bench_eps.plain import Maps, all_plain_maps, plain_eps, plain_maps
from torch import nn

from paretolens.evaluators.eps import EpsSettings, Population, TeacherReference, score_eps
from paretolens.evaluators.validation.subject import some_samples
from paretolens.search.config import load_config
from paretolens.search.workspace import Workspace
from paretolens.trainers.quantise import quantisers_off

ROUNDS = 3
"""Times that each of two recipes is measured."""
EXACT = 128
"""Nodes of the score that the default setting is held against."""
TEACHER_NODES = 16
"""Nodes of the teacher's maps in a study, which are computed once."""
FASTER = {"image": 6.0, "audio-visual": 4.0}
"""How many times as fast the same definition has to be."""
FASTER_BY_DEFAULT, CLOSE, SAME = 10.0, 0.01, 1e-5


@dataclass(frozen=True, kw_only=True)
class Teachers:
    """The teacher's side: of the plain recipe and of ours."""

    plain: Maps
    plain_s: float
    same: TeacherReference
    full: TeacherReference
    exact: TeacherReference | None
    second: TeacherReference | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came out for one student."""

    apart: float
    equal: float
    quick: float
    off: float
    off_plain: float


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work gives, and its CPU seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def in_turns(**works: Callable[[], Any]) -> dict[str, tuple[Any, float]]:
    """What each work gives, and the median of its CPU seconds; they take turns, in the opposite order every other time."""
    results: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(ROUNDS):
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


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def teachers(case: Case, same: EpsSettings, default: EpsSettings) -> Teachers:
    """Explain with the teacher in every way that is compared."""
    compute = partial(TeacherReference.compute, case.teacher, case.explained)
    found = in_turns(plain=partial(all_plain_maps, case.teacher, case, same), ours=partial(compute, same))
    (plain, plain_s), (reference, ours_s) = found["plain"], found["ours"]
    each = 1e3 * plain_s / len(case.explained)
    say(f"  teacher, plain recipe             {plain_s:7.2f} s   {each:6.1f} ms each, {same.nodes} nodes")
    say(f"  teacher, ours, once a study       {ours_s:7.2f} s")
    other = default.of_second()
    return Teachers(
        plain=plain,
        plain_s=plain_s,
        same=reference,
        full=compute(replace(default, nodes=TEACHER_NODES)),
        exact=compute(replace(default, nodes=EXACT, pixels=False)) if case.trained else None,
        second=None if other is None else compute(other),
    )


def compare_student(case: Case, student: nn.Module, known: Teachers, same: EpsSettings, default: EpsSettings) -> Found:
    """Print one student."""

    def score(reference: TeacherReference, settings: EpsSettings | None = None) -> float:
        return score_eps(student, reference, settings).eps

    works = {
        "plain": lambda: plain_eps(case, known.plain, all_plain_maps(student, case, same), same),
        "ours": partial(score, known.same),
        "quick": partial(score, known.full, default),
    }
    found = in_turns(**works, **({} if known.second is None else {"second": partial(score, known.second)}))
    (plain, mine_s), (ours, ours_s), (quick, quick_s) = found["plain"], found["ours"], found["quick"]
    plain_s = known.plain_s + mine_s
    say(f"    plain recipe          EPS {plain:.6f}   {plain_s:7.2f} s   (student {mine_s:.2f} s)")
    say(f"    same, teacher cached  EPS {ours:.6f}   {ours_s:7.2f} s   {plain_s / ours_s:5.1f}x   |dEPS| {abs(ours - plain):.1e}")
    note = f"{default.nodes} nodes, {default.probes} probes, pixel maps too"
    say(f"    default of a search   EPS {quick:.6f}   {quick_s:7.2f} s   {plain_s / quick_s:5.1f}x   ({note})")
    if known.second is not None:
        second, second_s = found["second"]
        say(f"    and {known.second.settings.explainer:<17} EPS {second:.6f}   {second_s:7.2f} s   (the second explainer)")
    best = float("nan") if known.exact is None else score(known.exact)
    if known.exact is not None:
        say(f"    at {EXACT} nodes          EPS {best:.6f}   default off by {quick - best:+.4f}, plain by {plain - best:+.4f}")
    return Found(
        apart=abs(ours - plain),
        equal=plain_s / ours_s,
        quick=plain_s / quick_s,
        off=abs(quick - best),
        off_plain=abs(quick - plain),
    )


def compare(case: Case, nodes: int) -> list[Goal]:
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
            found.append(compare_student(case, student, known, same, default))
    at_least, at_most = partial(Goal, at_least=True), partial(Goal, at_least=False)
    goals = [
        at_most(text=f"{case.name}, same definition: difference", reached=max(one.apart for one in found), wanted=SAME),
        at_least(
            text=f"{case.name}, same definition: times as fast", reached=min(one.equal for one in found), wanted=FASTER[case.name]
        ),
        at_least(text=f"{case.name}, default: times as fast", reached=min(one.quick for one in found), wanted=FASTER_BY_DEFAULT),
    ]
    if case.trained:
        text = f"{case.name}, default: mean |dEPS| to"
        goals.append(at_most(text=f"{text} {EXACT} nodes", reached=float(np.mean([one.off for one in found])), wanted=CLOSE))
        goals.append(
            at_most(text=f"{text} the plain recipe", reached=float(np.mean([one.off_plain for one in found])), wanted=CLOSE)
        )
    return goals


def show(goals: list[Goal]) -> int:
    """Print the goals; 1 if one is missed."""
    say("\ngoals")
    for goal in goals:
        say(f"  {goal}")
    return 0 if all(goal.holds for goal in goals) else 1


def main() -> int:
    """Run both cases and say which goals hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=12, help="clips; four times as many pictures")
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    for name in ("teacher", "student", "data"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument(
        "--memory",
        action="store_true",
        help="peak memory at two counts instead, and its goals",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        return show(memory())
    goals = compare(image_case(4 * options.samples), options.nodes)
    named, workspace = (options.teacher, options.student, options.data), Workspace.at(options.workspace)
    if all(named):
        case = named_case(options.teacher, {options.student.name: options.student}, options.data, options.samples)
    elif workspace.studies():
        case = study_case(workspace, options.samples)
    else:
        say(f"{workspace.root} holds no study: times and parity of untrained detectors only")
        case = pinpoint_case(options.samples)
    goals += compare(case, options.nodes)
    show(goals)
    return 1 if any(goal.wanted == SAME and not goal.holds for goal in goals) else 0


if __name__ == "__main__":
    sys.exit(main())
