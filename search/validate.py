"""The validation of EPS on a study's own models, check by check; what is finished is kept and not done again."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretolens.data.store import digest_of_json
from paretolens.evaluators.validation import (
    Check,
    Keep,
    Subject,
    Tick,
    check_baseline,
    check_cascade,
    check_completeness,
    check_curves,
    check_dose,
    check_identity,
    check_other_samples,
    check_pointing,
    check_ties,
)
from paretolens.evaluators.validation.subject import quick_reference
from paretolens.exporters.files import write_atomic
from paretolens.models.record import load_model
from paretolens.search.faithful import truth_of
from paretolens.search.origin import source_digest
from paretolens.search.progress import Steps, Update
from paretolens.search.references import RetrainedTeachers, retrained_teachers
from paretolens.search.stored import read_json
from paretolens.search.task import Task
from paretolens.trainers.device import moved
from paretolens.trainers.quantise import quantisers_off

__all__ = ["Validation", "validate"]

_VERSION = 3
_SOURCES = ("models", "evaluators", "data", "search/validate.py", "search/faithful.py")
"""What a check's outcome depends on beside models and clips."""
_CHECKS: dict[str, Callable[[Subject, Tick, Keep], Check]] = {
    "baseline": lambda subject, *_: check_baseline(subject),
    "identity": lambda subject, *_: check_identity(subject),
    "ties": lambda *_: check_ties(),
    "completeness": lambda subject, *_: check_completeness(subject),
    "cascade": check_cascade,
    "dose": lambda subject, tick, _: check_dose(subject, tick),
    "other-clips": lambda subject, *_: check_other_samples(subject),
    "pointing": lambda subject, *_: check_pointing(subject),
    "curves": lambda subject, tick, _: check_curves(subject, tick),
}


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The table."""

    checks: tuple[Check, ...]
    """In the order they were done."""
    retrained: RetrainedTeachers | None
    """None where they were not asked for."""

    @property
    def passed(self) -> bool:
        """Whether none failed; what could not be judged has not."""
        return not any(check.failed for check in self.checks)


def validate(task: Task, student_folder: Path, steps: Steps, *, clips: int, references: int, again: bool = False) -> Validation:
    """Run every check that is not in the cache.

    Args:
        task: the study's teacher, clips and reference.
        student_folder: a trial's folder with `model/` and `result.json`.
        steps: told how far it has come.
        clips: explained clips of the checks that score many models.
        references: teachers to train again; 0 = none.
        again: do everything again.
    """
    plain = {
        "version": _VERSION,
        "teacher": task.teacher_folder.name,
        "student": read_json(student_folder / "model" / "model.json"),
        "eps": task.reference.settings.record(),
        "explained": [int(row) for row in task.reference.explained.indices],
        "clips": clips,
        "floor": task.config.floor.seeds,
        "code": source_digest(_SOURCES),
    }
    place = task.workspace.cache / "validation" / digest_of_json(plain)[:24]
    checks = []
    with opened(task, student_folder, clips) as subject:
        for name, check in _CHECKS.items():
            with steps.step(name) as update:
                path = place / f"{name}.json"
                if again or not path.exists():
                    made = check(subject, ticking(update), keeping(place, again=again))
                    write_atomic(path, json.dumps(made.record()).encode())
                found = Check(**read_json(path, "name", "measured", "expected", "passed", "figures"))
                update(1, 1, found.verdict)
            checks.append(found)
    retrained = None
    if references:
        with steps.step("retrained teachers") as update:
            retrained = retrained_teachers(task, references, update, again=again)
            update(1, 1, f"{retrained.mean:.3f} [{retrained.low:.3f}, {retrained.high:.3f}]; teachers: {retrained.effort}")
        checks.append(above_the_floor(task, retrained))
    return Validation(checks=tuple(checks), retrained=retrained)


def ticking(update: Update) -> Tick:
    """A step's update without the note."""
    return lambda done, total: update(done, total, "")


def keeping(place: Path, *, again: bool) -> Keep:
    """What keeps parts of a long check, so that an interrupted one goes on where it was."""

    def keep(name: str, work: Callable[[], list[dict[str, float]]]) -> list[dict[str, float]]:
        path = place / f"{name}.json"
        if again or not path.exists():
            write_atomic(path, json.dumps({"found": work()}).encode())
        found: list[dict[str, float]] = read_json(path, "found")["found"]
        return found

    return keep


@contextmanager
def opened(task: Task, folder: Path, clips: int) -> Iterator[Subject]:
    """The subject, on the task's device; the student is explained as its float twin."""
    settings = task.config.make_model_settings()
    genome: dict[str, Any] = read_json(folder / "result.json", "genome")["genome"]
    seeds = range(1, task.config.floor.seeds + 1)
    student = load_model(folder / "model").eval()
    untrained = tuple(task.family.student(genome, task.signature, seed=seed).eval() for seed in seeds)
    with quantisers_off(student), moved(task.device, task.teacher, student, *untrained):
        yield Subject(
            teacher=task.teacher,
            student=student,
            untrained=untrained,
            fresh_teacher=lambda seed: task.family.teacher(settings, seed=seed).eval().to(task.device),
            reference=task.reference,
            quick=quick_reference(task.teacher, task.reference, clips),
            truth=truth_of(task),
        )


def above_the_floor(task: Task, retrained: RetrainedTeachers) -> Check:
    """An equally good detector explains itself more like the teacher than an untrained student."""
    each = ", ".join(f"{value:.3f}" for value in retrained.values)
    return Check(
        name="floor and reference",
        measured=f"retrained {retrained.mean:.3f} [{retrained.low:.3f}, {retrained.high:.3f}] ({each}); floor {task.floor:.3f}",
        expected="the interval of the retrained teachers lies above the floor",
        passed=retrained.low > task.floor,
        figures={"floor": task.floor, **retrained.metrics()},
    ).unless_undefined("the scored clips come from fewer than two source clips, so that there is no interval")
