"""Controls: other clips' maps, true regions beside untrained models, evidence taken away beside a random order."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretolens.data.bootstrap import nanmean_interval
from paretolens.evaluators.eps import Interval, TeacherReference, agreement, score_eps
from paretolens.evaluators.faithfulness import deletion_and_insertion, play_pointing, teacher_grids
from paretolens.evaluators.faithfulness.curves import random_grids
from paretolens.evaluators.validation.check import Check, Tick
from paretolens.evaluators.validation.subject import Subject

__all__ = ["check_curves", "check_other_samples", "check_pointing"]

Floats = NDArray[np.float64]


def check_other_samples(subject: Subject) -> Check:
    """The teacher's maps of other clips: what EPS owes to where things usually are, faces in the middle above all."""
    reference = subject.reference
    rows = reference.eligible.nonzero()[:, 0]
    values = np.mean([other_clip_eps(reference, rows, rows.roll(turn)) for turn in turns(len(rows))], axis=0)
    other = bootstrap(values, reference, rows)
    own = score_eps(subject.student, reference)
    return Check(
        name="other clips' maps",
        measured=f"{other.mean:.3f} [{other.low:.3f}, {other.high:.3f}]; student, own clips: {own.eps:.3f} from {own.ci_low:.3f}",
        expected="the student's interval lies above (chance is .056; what is over it is bias to the usual place)",
        passed=other.high < own.ci_low,
        figures={"other": other.mean, "other_high": other.high, "student": own.eps, "student_low": own.ci_low},
    ).unless_undefined("the scored clips come from fewer than two source clips, so that there is no interval")


def turns(count: int) -> list[int]:
    """By how many places the clips are turned against each other."""
    return sorted({max(1, count * part // 6) for part in (1, 2, 3, 4, 5)})


def other_clip_eps(reference: TeacherReference, rows: Tensor, others: Tensor) -> Floats:
    """(B,) EPS between the teacher's maps of `rows` and of `others`; NaN where no modality counts."""
    weight, scores = reference.settings.rank_weight, []
    for column, name in enumerate(reference.modalities):
        maps = reference.grids[name]
        found = agreement(maps.rows(rows, torch.device("cpu")), maps.rows(others, torch.device("cpu")))
        score = weight * found.rho + (1.0 - weight) * found.iou
        scores.append(score.masked_fill(~reference.counting[rows, column], torch.nan))
    mean: Floats = torch.stack(scores, dim=1).nanmean(dim=1).numpy()
    return mean


def check_pointing(subject: Subject) -> Check:
    """Teacher and student hit true regions more often than untrained students do."""
    reference = subject.reference
    teacher = hits(subject, teacher_grids(reference))
    student = hits(subject, grids_of(subject.student, reference))
    control = np.mean([hits(subject, grids_of(model, reference)) for model in subject.untrained], axis=0)
    chance = np.concatenate([g.chance for g in play_pointing(reference, teacher_grids(reference), subject.truth).values()])
    known = np.flatnonzero(~np.isnan(teacher - control))
    if not len(known):
        return Check(
            name="pointing game",
            measured="nothing",
            expected="the teacher's lead over the untrained is above 0",
            passed=False,
            undefined="no scored clip has a region that is known to be manipulated, and is neither nothing nor nearly everything",
        )
    lead = bootstrap_of((teacher - control)[known], np.tile(reference.explained.groups, len(reference.modalities))[known])
    shown = [float(np.nanmean(values)) for values in (teacher, student, control, chance)]
    return Check(
        name="pointing game",
        measured="hits: teacher {:.2f}, student {:.2f}, untrained {:.2f}, chance {:.2f}".format(*shown)
        + f" ({len(known)} maps; lead [{lead.low:.2f}, {lead.high:.2f}])",
        expected="the teacher's lead over the untrained is above 0",
        passed=lead.low > 0,
        figures=dict(zip(("teacher", "student", "untrained", "chance"), shown, strict=True)) | {"lead_low": lead.low},
    ).unless_undefined(
        "clips with a known region come from fewer than two source clips, so that there is no interval", "lead_low"
    )


def hits(subject: Subject, grids: Mapping[str, Tensor]) -> Floats:
    """(n · M,) hits, modality after modality."""
    return np.concatenate([game.hits for game in play_pointing(subject.reference, grids, subject.truth).values()])


def check_curves(subject: Subject, tick: Tick) -> Check:
    """Taking a model's own evidence away first hurts it sooner than a random order, giving it back first helps sooner."""
    reference = subject.reference
    rows = reference.eligible.nonzero()[:, 0]
    noise = random_grids(reference, seed=0)
    shown, passed = [], True
    figures: dict[str, float] = {}
    models = {"teacher": (subject.teacher, teacher_grids(reference))}
    models["student"] = (subject.student, grids_of(subject.student, reference))
    for done, (name, (model, grids)) in enumerate(models.items()):
        own = deletion_and_insertion(model, reference, grids, rows)
        control = deletion_and_insertion(model, reference, noise, rows)
        areas = {
            "deletion": (own.deletion_areas(), control.deletion_areas()),
            "insertion": (own.insertion_areas(), control.insertion_areas()),
        }
        for kind, (mine, random) in areas.items():
            gap = bootstrap(mine - random, reference, rows)
            passed &= gap.high < 0 if kind == "deletion" else gap.low > 0
            figures[f"{name}_{kind}_gap"] = gap.high if kind == "deletion" else gap.low
            shown.append(f"{name} {kind} {mine.mean():.2f} (random {random.mean():.2f})")
            figures |= {f"{name}_{kind}": float(mine.mean()), f"{name}_{kind}_random": float(random.mean())}
        tick(done + 1, len(models))
    return Check(
        name="deletion and insertion",
        measured=", ".join(shown),
        expected="deletion below and insertion above a random order",
        passed=bool(passed),
        figures=figures,
    ).unless_undefined(
        "the model's logit does not move from the baseline towards the teacher's verdict, or all clips have one source"
    )


def grids_of(model: nn.Module, reference: TeacherReference) -> dict[str, Tensor]:
    """A student's evidence maps (n, N) by input name."""
    return {name: torch.from_numpy(maps) for name, maps in score_eps(model, reference).samples.grids.items()}


def bootstrap(values: Floats, reference: TeacherReference, rows: Tensor) -> Interval:
    """Mean over the rows and its interval."""
    return bootstrap_of(values, np.asarray(reference.explained.groups)[rows.numpy()])


def bootstrap_of(values: Floats, groups: NDArray[np.generic]) -> Interval:
    """95 % interval, source clips drawn."""
    return nanmean_interval(values, groups, resamples=2000, confidence=0.95, seed=0)
