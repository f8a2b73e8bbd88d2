from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from paretolens.errors import TrialError
from paretolens.evaluators.eps import ExplainedSet, TeacherReference, proxy_eps, proxy_rows, score_eps

Make = Callable[[int], nn.Module]


@pytest.fixture
def of_two_kinds(tiny_reference: TeacherReference) -> TeacherReference:
    kinds = ("swap",) * 6 + ("splice",) * 18
    return replace(tiny_reference, explained=replace(tiny_reference.explained, kinds=kinds))


def test_rows_are_eligible_spread_over_the_kinds_and_always_the_same(of_two_kinds: TeacherReference) -> None:
    rows = proxy_rows(of_two_kinds, 6)
    assert torch.equal(rows, proxy_rows(of_two_kinds, 6))
    assert bool(of_two_kinds.eligible[rows].all())
    kinds = np.array(of_two_kinds.explained.kinds)[rows.numpy()]
    eligible_of_the_rare_kind = int(of_two_kinds.eligible[:6].sum())
    assert (kinds == "swap").sum() == min(3, eligible_of_the_rare_kind)
    assert len(proxy_rows(of_two_kinds, 1000)) == int(of_two_kinds.eligible.sum())


def test_the_teacher_itself_scores_one(
    tiny_detector: Make, tiny_explained: ExplainedSet, tiny_reference: TeacherReference
) -> None:
    plain = replace(tiny_reference.settings, nodes=6, probes=0, doublings=0)
    reference = TeacherReference.compute(tiny_detector(0), tiny_explained, plain)
    assert proxy_eps(tiny_detector(0), reference, proxy_rows(reference, 8), nodes=6) == pytest.approx(1.0, abs=1e-4)


def test_with_all_clips_and_as_many_nodes_it_is_eps(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    student = tiny_detector(1)
    exact = score_eps(student, tiny_reference, replace(tiny_reference.settings, nodes=16, probes=0, doublings=0, pixels=False))
    rows = proxy_rows(tiny_reference, 1000)
    assert proxy_eps(student, tiny_reference, rows, nodes=16) == pytest.approx(exact.eps, abs=1e-6)


def test_a_student_in_training_is_left_as_it_was(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    student = tiny_detector(1).train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    proxy_eps(student, tiny_reference, proxy_rows(tiny_reference, 4), nodes=2)
    assert all(module.training for module in student.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in student.parameters())
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_diverged_student_is_an_error(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    student = tiny_detector(1)
    with torch.no_grad():
        next(student.parameters()).fill_(torch.nan)
    with pytest.raises(TrialError, match="not finite"):
        proxy_eps(student, tiny_reference, proxy_rows(tiny_reference, 4), nodes=2)
