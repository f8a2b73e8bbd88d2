"""Which model decides a sample: of a cascade the stage that does, and that stage is explained."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from paretolens.evaluators.eps.explained import ExplainedSet
from paretolens.evaluators.explain import held_still

__all__ = ["deciders"]


def deciders(student: nn.Module, explained: ExplainedSet, rows: Tensor, chunk: int) -> Iterator[tuple[nn.Module, Tensor]]:
    """Each model that decides some of the samples, with their rows in order.

    A cascade is a function with jumps: on a path from a baseline the deciding stage would change and its jump would belong to no
    pixel. So the stage that decides the sample itself is explained, all along the path.

    Args:
        student: asked by `student.deciders(*inputs)` → (models, (B,) which of them decides); without that it decides alone.
        explained: where the rows are.
        rows: (n,) int64.
        chunk: samples that go through it at once.
    """
    ask = getattr(student, "deciders", None)
    if ask is None:
        yield student, rows
        return
    device = next(student.parameters()).device
    with held_still(student):
        models = ask(*explained.rows(rows[:1], device))[0]
        which = torch.cat([ask(*explained.rows(part, device))[1].cpu() for part in rows.split(chunk)])
    for number, model in enumerate(models):
        if bool((which == number).any()):
            yield model, rows[which == number]
