"""EPS against the plain recipe, side by side in one run: the same definition, the same nodes, the same score.

The plain recipe explains teacher and student with Captum, sample by sample, and compares them with SciPy. Ours keeps the
teacher's maps and scores the student in chunks. Times are CPU seconds of this process. The image detectors are trained here for
a few seconds on planted patches. The audio-visual ones are the teacher and members of the front of the workspace's last study, on
clips of its test split; without a study, untrained ones of the default task's shapes, so that only times and parity count.

    python benchmarks/eps_speed.py [--samples 12] [--nodes 16] [--threads 1] [--workspace runs] [--memory]
    python benchmarks/eps_speed.py --teacher A --student B --data DIR       # any pair, as `paretolens eps` takes them

Ends with the goals and whether they hold; exit code 1 if the two recipes' scores differ by more than 1e-5.
"""

import argparse
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
from bench_eps.memory import memory
from bench_eps.plain import Maps, all_plain_maps, plain_eps
from torch import nn

from paretolens.evaluators.eps import EpsSettings, Population, TeacherReference, score_eps
from paretolens.evaluators.explain import logit_of
from paretolens.search.config import load_config
from paretolens.search.workspace import Workspace
from paretolens.trainers.quantise import quantisers_off

EXACT = 128
"""Nodes of the score that the default setting is held against."""
TEACHER_NODES = 16
"""Nodes of the teacher's maps in a study, which are computed once."""
FASTER = {"image": 6.0, "audio-visual": 4.0}
"""How many times as fast the same definition has to be."""
FASTER_BY_DEFAULT, CLOSE, SAME = 10.0, 0.01, 1e-5


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Something to reach."""

    text: str
    reached: float
    wanted: float
    at_least: bool

    def __str__(self) -> str:
        holds = self.reached >= self.wanted if self.at_least else self.reached <= self.wanted
        sign, form = ("≥", "{:.1f}") if self.at_least else ("≤", "{:.1e}" if self.wanted < 0.001 else "{:.4f}")
        return (
            f"{'holds      ' if holds else 'falls short'}  {self.text}: {form.format(self.reached)} (goal {sign} {self.wanted:g})"
        )


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


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def teachers(case: Case, same: EpsSettings, default: EpsSettings) -> Teachers:
    """Explain with the teacher in every way that is compared."""
    compute = partial(TeacherReference.compute, case.teacher, case.explained)
    plain, plain_s = timed(partial(all_plain_maps, case.teacher, case, same))
    each = 1e3 * plain_s / len(case.explained)
    say(f"  teacher, plain recipe             {plain_s:7.2f} s   {each:6.1f} ms each, {same.nodes} nodes")
    reference, ours_s = timed(partial(compute, same))
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

    mine, mine_s = timed(partial(all_plain_maps, student, case, same))
    plain, compared_s = timed(partial(plain_eps, case, known.plain, mine, same))
    plain_s = known.plain_s + mine_s + compared_s
    say(f"    plain recipe          EPS {plain:.6f}   {plain_s:7.2f} s   (student {mine_s:.2f} s)")
    ours, ours_s = timed(partial(score, known.same))
    say(f"    same, teacher cached  EPS {ours:.6f}   {ours_s:7.2f} s   {plain_s / ours_s:5.1f}x   |dEPS| {abs(ours - plain):.1e}")
    quick, quick_s = timed(partial(score, known.full, default))
    note = f"{default.nodes} nodes, {default.probes} probes, pixel maps too"
    say(f"    default of a search   EPS {quick:.6f}   {quick_s:7.2f} s   {plain_s / quick_s:5.1f}x   ({note})")
    if known.second is not None:
        second, second_s = timed(partial(score, known.second))
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
    few = [x[:2] for x in case.explained.inputs]
    for model in (case.teacher, *case.students.values()):
        logit_of(model(*few))  # warm up
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


def main() -> int:
    """Run both cases and say which goals hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=12, help="clips; four times as many pictures")
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    for name in ("teacher", "student", "data"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--memory", action="store_true", help="show peak memory at 64 and 512 samples instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        memory()
        return 0
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
    say("\ngoals")
    for goal in goals:
        say(f"  {goal}")
    return 1 if any(goal.wanted == SAME and goal.reached > SAME for goal in goals) else 0


if __name__ == "__main__":
    sys.exit(main())
