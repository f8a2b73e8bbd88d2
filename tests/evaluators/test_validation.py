"""The checks themselves: each must pass on sound models and fail on the fault that it is there for."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paretolens.evaluators.eps import EpsSettings, ExplainedSet, Population, TeacherReference, score_eps
from paretolens.evaluators.faithfulness import Truth, deletion_and_insertion, teacher_grids, true_cells
from paretolens.evaluators.validation import (
    Check,
    Subject,
    check_baseline,
    check_cascade,
    check_completeness,
    check_curves,
    check_dose,
    check_identity,
    check_other_samples,
    check_pointing,
    check_ties,
    noisy,
    quantised,
    randomised,
    stages_of,
)
from paretolens.evaluators.validation.metric import Rescaled
from paretolens.evaluators.validation.randomise import judged, levels, stages_that_matter
from paretolens.evaluators.validation.subject import quick_reference
from paretolens.models.signature import InputKind, InputSpec, Signature

SIDE, CORNER = 16, slice(8, 16)


class Finder(nn.Module):
    """Looks for brightness; `trained` ones in one corner, which is where the truth is said to lie."""

    def __init__(self, seed: int, *, trained: bool) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.see = nn.Conv2d(3, 8, 3, 1, 1)
            self.blocks = nn.ModuleList([nn.Conv2d(8, 8, 3, 1, 1)])
            self.verdict = nn.Linear(8 * SIDE * SIDE, 1)
            if trained:
                with torch.no_grad():
                    self.see.weight.copy_(self.see.weight.abs())
                    self.blocks[0].weight.copy_(self.blocks[0].weight.abs())
                    where = torch.zeros(8, SIDE, SIDE)
                    where[:, CORNER, CORNER] = 0.4 * torch.rand(8, 8, 8)
                    self.verdict.weight.add_(where.flatten())

    def forward(self, x: Tensor) -> Tensor:
        found = torch.nn.functional.softplus(self.blocks[0](torch.nn.functional.softplus(self.see(x))))
        verdict: Tensor = self.verdict(found.flatten(1))
        return verdict


@pytest.fixture(scope="module")
def subject() -> Subject:
    generator = torch.Generator().manual_seed(3)
    pictures = torch.rand(12, 3, SIDE, SIDE, generator=generator)
    signature = Signature(inputs=(InputSpec(name="image", shape=(3, SIDE, SIDE), kind=InputKind.IMAGE),), outputs=("logit",))
    explained = ExplainedSet.of_tensors(signature, (pictures,), (torch.zeros(1, 3, SIDE, SIDE),))
    regions = np.zeros((12, 1, 16, 16), dtype=bool)
    regions[:, :, CORNER, CORNER] = True
    explained = replace(explained, regions=regions)
    settings = EpsSettings(image_grid=8, population=Population.ALL, nodes=8, resamples=200)
    teacher = Finder(0, trained=True).eval()
    with torch.no_grad():
        teacher.verdict.bias -= float(teacher(torch.zeros(1, 3, SIDE, SIDE))) + 0.1
    reference = TeacherReference.compute(teacher, explained, settings)
    return Subject(
        teacher=teacher,
        student=Finder(5, trained=True).eval(),
        untrained=tuple(Finder(seed, trained=False).eval() for seed in (1, 2, 3)),
        fresh_teacher=lambda seed: Finder(seed, trained=False).eval(),
        reference=reference,
        quick=quick_reference(teacher, reference, 6),
        truth=true_cells(reference),
    )


def quiet(done: int, total: int) -> None:
    assert 0 < done <= total


@pytest.mark.parametrize(
    "check",
    [
        check_baseline,
        check_identity,
        check_completeness,
        check_pointing,
        lambda subject: check_curves(subject, quiet),
        lambda subject: check_cascade(subject, quiet),
        lambda _: check_ties(),
    ],
)
def test_sound_models_pass(subject: Subject, check: Callable[[Subject], Check]) -> None:
    found = check(subject)
    assert found.passed, found
    assert found.figures
    assert Check(**found.record()) == found


def test_a_baseline_that_is_more_fake_than_the_fakes_is_found(subject: Subject) -> None:
    reference = replace(subject.reference, baseline_logit=subject.reference.logit + 1.0)
    assert not check_baseline(replace(subject, reference=reference)).passed


def test_another_teacher_is_not_identical(subject: Subject) -> None:
    assert not check_identity(replace(subject, teacher=subject.student)).passed


def test_clips_that_do_not_converge_are_found(subject: Subject) -> None:
    converged = torch.zeros_like(subject.reference.converged)
    assert not check_completeness(replace(subject, reference=replace(subject.reference, converged=converged))).passed


def test_pointing_elsewhere_is_found(subject: Subject) -> None:
    elsewhere = {"image": ~subject.truth.cells["image"]}
    assert not check_pointing(replace(subject, truth=Truth(cells=elsewhere, known=subject.truth.known))).passed
    nowhere = {"image": torch.zeros(12, dtype=torch.bool)}
    unknown = check_pointing(replace(subject, truth=Truth(cells=subject.truth.cells, known=nowhere)))
    assert (unknown.passed, unknown.failed, unknown.verdict) == (False, False, "not judged")
    assert "no scored clip has a region" in unknown.undefined


def test_maps_that_hide_the_evidence_are_found(subject: Subject) -> None:
    maps = subject.reference.grids["image"]
    upside_down = {"image": replace(maps, values=maps.values.max() - maps.values)}
    found = check_curves(replace(subject, reference=replace(subject.reference, grids=upside_down)), quiet)
    assert found.failed and found.verdict == "FAILED"
    assert found.figures["teacher_deletion"] > found.figures["teacher_deletion_random"]


def test_curves_of_a_model_that_moves_away_from_the_verdict_are_undefined(subject: Subject) -> None:
    class Elsewhere(Finder):
        def forward(self, x: Tensor) -> Tensor:
            return -super().forward(x)

    found = check_curves(replace(subject, student=Elsewhere(5, trained=True)), quiet)
    assert found.verdict == "not judged"
    assert "student_deletion" in found.undefined and "teacher_deletion" not in found.undefined


def test_one_source_clip_leaves_checks_unjudged_and_says_so(subject: Subject) -> None:
    explained = replace(subject.reference.explained, groups=np.zeros(12, dtype=np.int64))
    one = replace(subject, reference=replace(subject.reference, explained=explained))
    for found in (check_other_samples(one), check_pointing(one)):
        assert found.verdict == "not judged"
        assert "fewer than two source clips" in found.undefined


def test_a_model_that_damage_breaks_is_told(subject: Subject) -> None:
    class Brittle(Finder):
        def forward(self, x: Tensor) -> Tensor:
            whole = float(self.see.weight.unique().numel() > 40)
            return super().forward(x) * whole

    found = check_dose(replace(subject, teacher=Brittle(0, trained=True)), quiet, seeds=1)
    assert found.verdict == "not judged"
    assert "int2" in found.undefined and "int8" not in found.undefined


@pytest.mark.parametrize("seed", [1, 2])
def test_more_damage_to_real_weights_takes_more_of_the_score(subject: Subject, seed: int) -> None:
    teacher = Finder(seed, trained=False).eval()
    reference = TeacherReference.compute(teacher, subject.reference.explained, subject.reference.settings)
    quick = quick_reference(teacher, reference, 12)
    found = check_dose(replace(subject, teacher=teacher, reference=reference, quick=quick), quiet)
    assert found.passed, found
    assert len(found.figures) == 10
    assert found.figures["int8"] > 0.95 > found.figures["int2"]


def patches(*, moving: bool) -> Tensor:
    """Pictures with a bright patch each, all in one place or here and there."""
    generator = torch.Generator().manual_seed(3)
    pictures = torch.zeros(12, 3, SIDE, SIDE)
    for picture in pictures:
        top, left = torch.randint(0, SIDE - 4, (2,), generator=generator).tolist() if moving else (4, 4)
        picture[:, top : top + 4, left : left + 4] = 1 + torch.rand(3, 4, 4, generator=generator)
    return pictures


@pytest.mark.parametrize("moving", [True, False])
def test_maps_that_always_point_to_the_usual_place_are_found(subject: Subject, *, moving: bool) -> None:
    explained = ExplainedSet.of_images(patches(moving=moving), torch.zeros(1, 3, SIDE, SIDE))
    reference = TeacherReference.compute(subject.teacher, explained, subject.reference.settings)
    found = check_other_samples(replace(subject, reference=reference))
    assert found.passed == moving, found
    assert (found.figures["other"] < 0.3) == moving


def test_weights_that_do_not_matter_show_no_dose(subject: Subject) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, CORNER, CORNER].mean((1, 2, 3))

    assert not check_dose(replace(subject, teacher=Fixed()), quiet).passed


def test_cascade_that_rises_or_ends_elsewhere_is_found() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (4, 4))

    def passed(curve: list[float], untrained: float) -> bool:
        found = [[{"eps": value + error} for value, error in zip([*curve, untrained], row, strict=True)] for row in noise]
        return judged(["verdict", "blocks.0", "see"], found).passed

    assert passed([0.6, 0.4, 0.2], 0.2)
    assert not passed([0.3, 0.6, 0.2], 0.2)
    assert not passed([0.6, 0.4, 0.2], 0.4)


def test_cascade_judges_a_model_and_its_opposite_alike(subject: Subject) -> None:
    model = Finder(7, trained=False).eval()
    opposite = Rescaled(model, scale=-1.0, shift=0.0)
    assert levels(opposite, subject.quick)["eps"] == pytest.approx(levels(model, subject.quick)["eps"], abs=1e-6)
    one, other = (score_eps(each, subject.quick).eps for each in (model, opposite))
    assert abs(one - other) > 0.05  # which EPS itself does not
    assert levels(subject.teacher, subject.quick)["eps"] == pytest.approx(1.0, abs=1e-5)


def test_cascade_goes_on_where_it_was(subject: Subject) -> None:
    kept: dict[str, list[dict[str, float]]] = {}
    made: list[str] = []

    def keep(name: str, work: Callable[[], list[dict[str, float]]]) -> list[dict[str, float]]:
        if name not in kept:
            made.append(name)
            kept[name] = work()
        return kept[name]

    first = check_cascade(subject, quiet, keep, seeds=2)
    assert made == ["cascade-0", "cascade-1"]
    del kept["cascade-1"]
    assert check_cascade(subject, quiet, keep, seeds=2) == first
    assert made == ["cascade-0", "cascade-1", "cascade-1"]


def test_parts_that_the_verdict_does_not_need_are_no_stage(subject: Subject) -> None:
    idle = deepcopy(subject.teacher)
    idle.spare = nn.Linear(4, 4)

    def fresh(seed: int) -> nn.Module:
        model = Finder(seed, trained=False)
        model.spare = nn.Linear(4, 4)
        return model.eval()

    assert stages_of(idle) == ["spare", "verdict", "blocks.0", "see"]
    assert stages_that_matter(replace(subject, teacher=idle, fresh_teacher=fresh)) == ["verdict", "blocks.0", "see"]


def test_cascade_goes_from_the_verdict_to_the_input() -> None:
    model, fresh = Finder(0, trained=True), Finder(9, trained=False)
    assert stages_of(model) == ["verdict", "blocks.0", "see"]
    half = randomised(model, fresh, ["verdict", "blocks.0"])
    assert torch.equal(half.get_submodule("verdict").weight, fresh.verdict.weight)
    assert torch.equal(half.get_submodule("see").weight, model.see.weight)
    assert not torch.equal(model.verdict.weight, fresh.verdict.weight)


@pytest.mark.parametrize(("bits", "levels"), [(8, 255), (3, 7), (2, 3)])
def test_rounding_keeps_so_many_levels_per_channel(bits: int, levels: int) -> None:
    model = Finder(0, trained=False)
    rounded = quantised(model, bits)
    for before, after in zip(model.verdict.weight, rounded.get_submodule("verdict").weight, strict=True):
        assert len(after.unique()) <= levels
        step = float(before.detach().abs().max()) / (2 ** (bits - 1) - 1)
        assert float((before - after).detach().abs().max()) <= 0.5 * step + 1e-6
    assert torch.equal(model.see.bias, rounded.get_submodule("see").bias)


def test_noise_is_a_share_of_each_weights_spread() -> None:
    model = Finder(0, trained=False)
    moved = noisy(model, 0.1, seed=4)
    change = moved.get_submodule("verdict").weight - model.verdict.weight
    assert change.detach().std().item() == pytest.approx(0.1 * model.verdict.weight.detach().std().item(), rel=0.1)
    assert torch.equal(noisy(model, 0.1, seed=4).get_submodule("verdict").weight, moved.get_submodule("verdict").weight)


def test_models_on_a_gpu_are_checked_there(subject: Subject, gpu) -> None:
    rows = subject.quick.eligible.nonzero()[:, 0]

    def looked_at(model: nn.Module) -> list[float]:
        curves = deletion_and_insertion(model, subject.quick, teacher_grids(subject.quick), rows)
        return [*levels(model, subject.quick).values(), *curves.deletion.flatten(), *curves.insertion.flatten()]

    here, model = looked_at(subject.student), deepcopy(subject.student)
    with gpu.pretended_gpu():
        there = looked_at(model.to(gpu.CUDA))
    assert there == pytest.approx(here, abs=1e-5)
