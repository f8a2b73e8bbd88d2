"""Distillation: a student learns the labels, the teacher's verdicts and where the teacher looks.

The same stage repairs a student after pruning and trains it under quantisers: fewer epochs, a lower rate, the same loss.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.models.signature import InputKind, Signature
from paretolens.trainers.cache import TeacherSource
from paretolens.trainers.deep import DeepTargets, deep_loss, forward_deep
from paretolens.trainers.loop import Batch, History, LoopSettings, Objective, Report, train_loop
from paretolens.trainers.losses import alignment_loss, distillation_loss, hard_loss, soft_loss
from paretolens.trainers.patches import PatchLoss, align_patches, patch_loss
from paretolens.trainers.validation import Validator
from paretolens.trainers.views import View, view

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["DistillSettings", "DistillationObjective", "distill", "map_masks", "only_training"]


@dataclass(frozen=True, kw_only=True)
class DistillSettings(LoopSettings):
    """How a student is taught: L = α·hard + (1 − α)·T²·KL + β·alignment + δ·patches."""

    alpha: Annotated[float, Ge(0), Le(1)] = 0.5
    """α, weight of the labels; the teacher's verdicts have 1 − α."""
    beta: Annotated[float, Ge(0)] = 0.3
    """β, weight of the agreement between the attention maps."""
    temperature: Annotated[float, Gt(0)] = 2.0
    """T, softens the teacher's verdicts."""
    deep: Annotated[float, Ge(0)] = 1.0
    """Weight of the loss on each frame's and the sound's own logit, where the model offers them; see `trainers.deep`."""
    patch: Annotated[float, Ge(0)] = 0.0
    """Weight of the agreement between the patch logits, where both models have them; 0 = none."""
    patch_loss: PatchLoss = PatchLoss.SQUARED
    """How patch logits are compared."""
    mirror: bool = False
    """Show half of the clips mirrored; the teacher's outputs must be cached in that view too."""


def distill(
    student: nn.Module,
    outputs: TeacherSource,
    train: "SampleSet",
    val: "SampleSet",
    settings: DistillSettings,
    *,
    seed: int,
    report: Report,
    folder: Path | None = None,
    stage: str = "distill",
    beside: Objective | None = None,
    parts: Sequence[str] = (),
) -> History:
    """Train the student in place; it ends in eval mode with the weights of its best epoch.

    Args:
        student: any model with the samples' signature.
        outputs: the teacher's outputs for `train`, from `cache_teacher` or a `LiveTeacher`.
        train: clips to learn from.
        val: clips by which the best epoch is chosen.
        settings: the loss and the optimiser.
        seed: of order, dropout and mirroring.
        report: called after each epoch, may raise to stop.
        folder: where checkpoints are kept; None keeps none.
        stage: prefix of the reported figures.
        beside: another loss that is added; batch norms stand still then, for it looks at the model as it is used.
        parts: paths of the modules that are trained; none = all. Batch norms of the others follow what passes through them.

    Raises:
        ConfigurationError: β > 0 without an attention map, or mirroring without mirrored teacher outputs, or other clips.
        TrialError: a loss that is not finite.
    """
    _check(student, outputs, train, settings)
    objective: Objective = DistillationObjective(outputs=outputs, train=train, settings=settings)
    if beside is not None:
        objective = _Both(objective, beside)
    with only_training(student, parts):
        return train_loop(
            student,
            objective,
            count=len(train),
            validate=Validator(val),
            settings=settings,
            seed=seed,
            stage=stage,
            report=report,
            folder=folder,
        )


def _check(student: nn.Module, outputs: TeacherSource, train: "SampleSet", settings: DistillSettings) -> None:
    """See that teacher and student have what the loss compares."""
    if len(outputs) != len(train):
        raise ConfigurationError(
            f"teacher outputs must cover the {len(train)} training clips; they cover {len(outputs)}: cache them again"
        )
    if settings.mirror and View.MIRRORED not in outputs.views:
        raise ConfigurationError("mirroring needs teacher outputs of the mirrored view; cache them with views plain and mirrored")
    if settings.beta > 0 and not (outputs.has_maps and _gives(student, "attention", train)):
        raise ConfigurationError(
            f"attention alignment needs maps of teacher and student; got beta {settings.beta:g}: set it to 0"
        )
    if settings.patch > 0 and not (outputs.batch(torch.arange(1)).patches.numel() and _gives(student, "patches", train)):
        raise ConfigurationError(f"patch distillation needs patches of teacher and student; got {settings.patch:g}: set it to 0")


@contextmanager
def only_training(model: nn.Module, parts: Sequence[str]) -> Iterator[None]:
    """Fix all parameters but those of some modules, for a while; none = fix nothing."""
    wanted = {id(parameter) for part in parts for parameter in model.get_submodule(part).parameters()}
    fixed = [p for p in model.parameters() if parts and p.requires_grad and id(p) not in wanted]
    for parameter in fixed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in fixed:
            parameter.requires_grad_(True)


class _Both:
    """Two losses of one batch, with batch norms fixed."""

    def __init__(self, first: Objective, beside: Objective) -> None:
        self.first = first
        self.beside = beside

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self.first(model, batch) + self.beside(model, batch)


class DistillationObjective:
    """The loss of one batch.

    Args:
        outputs: the teacher's outputs for `train`.
        train: clips to learn from.
        settings: weights of the loss.
    """

    def __init__(self, *, outputs: TeacherSource, train: "SampleSet", settings: DistillSettings) -> None:
        self.outputs = outputs
        self.train = train
        self.settings = settings
        self.deep = DeepTargets(train)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss () of some clips."""
        settings = self.settings
        mirrored = torch.zeros(len(batch.rows), dtype=torch.bool)
        if settings.mirror:
            mirrored = torch.rand(len(batch.rows), generator=batch.generator) < 0.5
        device = next(model.parameters()).device
        inputs = tuple(x.to(device) for x in view(self.train.batch(batch.rows), self.train.signature, mirrored))
        teacher = self.outputs.batch(batch.rows, mirrored)
        out, early = forward_deep(model, inputs)
        targets = self.train.targets(batch.rows).to(device)
        logit, verdict, targets = taught(out, teacher.logit.to(device), targets)
        alignment = out.logit.new_zeros(())
        if settings.beta > 0:
            alignment = alignment_loss(out.attention, teacher.attention.to(device), *map_masks(inputs, self.train.signature))
        loss = distillation_loss(
            hard=hard_loss(logit, targets),
            soft=soft_loss(logit, verdict, settings.temperature),
            alignment=alignment,
            alpha=settings.alpha,
            beta=settings.beta,
        ).total
        if early is not None and settings.deep > 0:
            frames, sound = self.deep.batch(batch.rows)
            loss = loss + settings.deep * deep_loss(early, frames.to(device), sound.to(device))
        if settings.patch > 0:
            loss = loss + settings.patch * self._patches(model, out.patches, teacher.patches.to(device))
        return loss

    def _patches(self, model: nn.Module, ours: Tensor, theirs: Tensor) -> Tensor:
        align = align_patches(getattr(model, "patch_field", None), self.outputs.patch_field)
        kind, temperature = self.settings.patch_loss, self.settings.temperature
        return patch_loss(*align(ours, theirs), kind=kind, temperature=temperature, spread=self.outputs.patch_spread)


def taught(out: Any, verdict: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is taught, and the teacher's verdict and targets for it; of a cascade each stage as if it stood alone, (B·S, 1)."""
    stages = getattr(out, "stages", None)
    if stages is None:
        return out.logit, verdict, targets
    logit, verdict, targets = (part.expand_as(stages).reshape(-1, 1) for part in (stages, verdict, targets))
    return logit, verdict, targets


def map_masks(inputs: tuple[Tensor, ...], signature: Signature) -> tuple[Tensor, Tensor]:
    """Masks of the attention map's rows (sound) and columns (picture), each (B, N) bool, True = ignore."""
    names = [spec.name for spec in signature.inputs]
    found = {spec.kind: inputs[names.index(spec.mask)] for spec in signature.inputs if spec.mask is not None}
    return found[InputKind.AUDIO], found[InputKind.VIDEO]


def _gives(student: nn.Module, field: str, train: "SampleSet") -> bool:
    """Whether a field of what the student returns holds anything."""
    student.eval()
    with torch.inference_mode():
        device = next(student.parameters()).device
        out = student(*(x.to(device) for x in train.batch(slice(0, 2))))
    found = getattr(out, field, None)
    return found is not None and found.numel() > 0
