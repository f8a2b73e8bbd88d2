"""Which function of a model is explained for a sample: of a cascade the stage that decides it, of a classifier the class's logit.

With classes the scalar is the logit of the class that the teacher chooses, log p/(1 - p): what speaks for that class against all
others. The raw score alone would also count what raises every class at once, and two models whose scores differ by such a common
part, with the same probabilities, would be explained otherwise. With two classes it is the logit of a model that has only one,
its sign turned where the teacher says "real". Teacher and student are asked for the same class.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from paretolens.evaluators.eps.explained import ExplainedSet
from paretolens.evaluators.explain import ClassLogit, held_still, verdicts_in_chunks

__all__ = ["by_class", "chosen_classes", "deciders"]


def chosen_classes(model: nn.Module, explained: ExplainedSet, chunk: int) -> Tensor | None:
    """(n,) int64, the class that a model chooses for each explained sample; None where the signature has no classes."""
    if not explained.signature.classes:
        return None
    device = next(model.parameters(), torch.empty(0)).device
    with held_still(model):
        parts = torch.arange(len(explained)).split(chunk)
        return torch.cat([verdicts_in_chunks(model, explained.rows(rows, device), chunk) for rows in parts])


def by_class(model: nn.Module, rows: Tensor, classes: Tensor | None) -> Iterator[tuple[nn.Module, Tensor]]:
    """The logit of each class that is asked for, with its rows in order; of a model with one logit itself, with all rows.

    Args:
        model: with one logit, or with scores of classes.
        rows: (n,) int64; none give nothing.
        classes: (N,) int64, the teacher's class of every explained sample; None = one logit.
    """
    if classes is None:
        yield from [(model, rows)] * (len(rows) > 0)
        return
    asked = classes[rows]
    for index in asked.unique().tolist():
        yield ClassLogit(model, index), rows[asked == index]


def deciders(
    student: nn.Module, explained: ExplainedSet, rows: Tensor, chunk: int, classes: Tensor | None = None
) -> Iterator[tuple[nn.Module, Tensor]]:
    """Each function of a model that is explained for some of the samples, with their rows in order.

    A cascade is a function with jumps: on a path from a baseline the deciding stage would change and its jump would belong to no
    pixel. So the stage that decides the sample itself is explained, all along the path.

    Args:
        student: asked by `student.deciders(*inputs)` → (models, (B,) which of them decides); without that it decides alone.
        explained: where the rows are.
        rows: (n,) int64.
        chunk: samples that go through it at once.
        classes: (N,) int64, the teacher's class of every explained sample; None = one logit.
    """
    ask = getattr(student, "deciders", None)
    if ask is None or classes is not None:
        yield from by_class(student, rows, classes)
        return
    device = next(student.parameters()).device
    with held_still(student):
        models = ask(*explained.rows(rows[:1], device))[0]
        which = torch.cat([ask(*explained.rows(part, device))[1].cpu() for part in rows.split(chunk)])
    for number, model in enumerate(models):
        if bool((which == number).any()):
            yield model, rows[which == number]
