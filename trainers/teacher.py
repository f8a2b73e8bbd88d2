"""Training of the teacher: PinPoint's losses and curriculum, every part a parameter; of them, what a family has use for."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from paretolens.data.samples import IN_SYNC, UNKNOWN_OFFSET
from paretolens.trainers.deep import DeepTargets, deep_loss, forward_deep
from paretolens.trainers.distill import map_masks
from paretolens.trainers.distributed import ALONE, World
from paretolens.trainers.loop import Batch, History, LoopSettings, Report, train_loop
from paretolens.trainers.losses import balancing_weight, hard_loss, offset_loss, sync_loss
from paretolens.trainers.precision import Precision
from paretolens.trainers.validation import Validator
from paretolens.trainers.views import hide_frames, hide_modality, view

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["TeacherSettings", "train_teacher"]


@dataclass(frozen=True, kw_only=True)
class TeacherSettings(LoopSettings):
    """L = hard + offset weight·CE + sync weight·sync, with a curriculum (PinPoint's published weights are .5 and 3)."""

    offset_weight: Annotated[float, Ge(0)] = 0.5
    """Weight of the cross-entropy of the audio-video offset, over the clips whose offset is known."""
    sync_weight: Annotated[float, Ge(0)] = 3.0
    """Weight of the synchrony of the attention map, over real clips in sync."""
    sync_sigma: Annotated[float, Gt(0)] = 0.55
    """Width of the diagonal in video frames; published: 2 of 30 frames."""
    sync_half_width: Annotated[float, Gt(0)] = 0.55
    """Half width of the band in video frames; published: 2 of 30 frames."""
    off_band: Annotated[float, Ge(0)] = 0.5
    """Weight, within the synchrony, of attention outside of the band."""
    smoothness: Annotated[float, Ge(0)] = 0.2
    """Weight, within the synchrony, of differences between neighbouring rows."""
    deep: Annotated[float, Ge(0)] = 1.0
    """Weight of the loss on each frame's and the sound's own logit, where the model offers them; see `trainers.deep`."""
    modality_dropout: Annotated[float, Ge(0), Lt(1)] = 0.15
    """Share of clips that lose their sound or their picture."""
    masked_epochs: Annotated[int, Ge(0)] = 0
    """First epochs, in which most frames are hidden; published: 2 of 15."""
    masked_low: Annotated[float, Ge(0), Lt(1)] = 0.5
    """Smallest share of hidden frames in those epochs."""
    masked_high: Annotated[float, Ge(0), Lt(1)] = 0.8
    """Largest share of hidden frames in those epochs."""
    gentle_epochs: Annotated[int, Ge(0)] = 1
    """Epochs after those, in which the offset counts less; published: 3 of 15."""
    gentle_offset: Annotated[float, Ge(0), Le(1)] = 0.1
    """Factor of the offset's weight in those epochs."""
    mirror: bool = True
    """Show half of the clips mirrored."""
    balance: bool = False
    """Count each fake reals / fakes times, as they are in the training split, so that both classes weigh alike."""
    precision: Precision = Precision.FLOAT32
    """In what products are computed: float32, bfloat16, or float16 on a GPU."""
    patience: Annotated[int, Ge(0)] = 0
    """Epochs without a better one after which training ends; 0 = never."""


def train_teacher(
    model: nn.Module,
    train: "SampleSet",
    val: "SampleSet",
    settings: TeacherSettings,
    *,
    seed: int,
    report: Report,
    folder: Path | None = None,
    world: World = ALONE,
) -> History:
    """Train the teacher in place; it ends in eval mode with the weights of its best epoch.

    Args:
        model: a detector; offset and synchrony are trained where it returns them (`Detection`).
        train: clips to learn from.
        val: clips by which the best epoch is chosen.
        settings: losses, curriculum and optimiser.
        seed: of order, dropout and masks.
        report: called after each epoch with `teacher_*` figures, may raise to stop.
        folder: where checkpoints are kept; None keeps none.
        world: the processes that train together; see `trainers.distributed`.

    Raises:
        ConfigurationError: the batch can't be divided among the processes, or the device lacks the precision.
        TrialError: a loss that is not finite.
        DataError: `val`, or to be balanced `train`, holds one class only.
    """
    return train_loop(
        model,
        _TeacherObjective(train=train, settings=settings),
        count=len(train),
        validate=Validator(val),
        settings=settings,
        seed=seed,
        stage="teacher",
        report=report,
        folder=folder,
        precision=settings.precision,
        patience=settings.patience,
        world=world,
    )


class _TeacherObjective:
    """The loss of one batch."""

    def __init__(self, *, train: "SampleSet", settings: TeacherSettings) -> None:
        self.train = train
        self.settings = settings
        self.deep = DeepTargets(train)
        self.fake_weight = None
        if settings.balance:
            self.fake_weight = balancing_weight(train.targets(slice(0, len(train))), len(train.signature.classes))

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        settings = self.settings
        device = next(model.parameters()).device
        plain = self.train.batch(batch.rows)
        inputs = tuple(x.to(device) for x in self._augment(plain, batch))
        targets = self.train.targets(batch.rows).to(device)
        offsets = torch.from_numpy(self.train.offsets[batch.rows.numpy()]).to(device)
        out, early = forward_deep(model, inputs)
        weight = None if self.fake_weight is None else self.fake_weight.to(device)
        loss = hard_loss(out.logit, targets, fake_weight=weight)
        if hasattr(out, "offset"):
            loss = loss + self._offset_weight(batch.epoch) * offset_loss(out.offset, offsets, unknown=UNKNOWN_OFFSET)
        if early is not None and settings.deep > 0:
            frames, sound = self.deep.batch(batch.rows)
            loss = loss + settings.deep * deep_loss(early, frames.to(device), sound.to(device))
        if hasattr(out, "offset") and settings.sync_weight > 0:
            in_sync = (targets[:, 0] < 0.5) & (offsets == IN_SYNC)
            loss = loss + settings.sync_weight * self._sync(out.attention, plain, inputs, in_sync)
        return loss

    def _sync(self, attention: Tensor, plain: tuple[Tensor, ...], inputs: tuple[Tensor, ...], in_sync: Tensor) -> Tensor:
        """The synchrony of clips in sync, by the inputs before anything was hidden and by what the model saw."""
        settings, signature = self.settings, self.train.signature
        rows, columns = ((~mask).sum(1).to(in_sync.device) for mask in map_masks(plain, signature))
        return sync_loss(
            attention,
            *map_masks(inputs, signature),
            in_sync,
            sigma=settings.sync_sigma,
            half_width=settings.sync_half_width,
            off_band=settings.off_band,
            smoothness=settings.smoothness,
            lengths=(rows, columns),
        )

    def _augment(self, inputs: tuple[Tensor, ...], batch: Batch) -> tuple[Tensor, ...]:
        settings, signature = self.settings, self.train.signature
        if settings.mirror:
            inputs = view(inputs, signature, torch.rand(len(batch.rows), generator=batch.generator) < 0.5)
        if batch.epoch < settings.masked_epochs:
            inputs = hide_frames(inputs, signature, settings.masked_low, settings.masked_high, batch.generator)
        return hide_modality(inputs, signature, settings.modality_dropout, batch.generator)

    def _offset_weight(self, epoch: int) -> float:
        gentle = 0 <= epoch - self.settings.masked_epochs < self.settings.gentle_epochs
        return self.settings.offset_weight * (self.settings.gentle_offset if gentle else 1.0)
