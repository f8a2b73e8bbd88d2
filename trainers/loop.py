"""The one training loop of every stage: optimiser, learning rate by step or epoch, clipped gradients, best weights, checkpoints.

A stage gives an objective (rows → loss) and a way to validate; the loop does the rest. All randomness (order of the clips,
dropout, augmentation) comes from the seed and the epoch's number, so that a resumed run equals an uninterrupted one. The number
of threads is the caller's business.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from paretolens.errors import TrialError
from paretolens.trainers.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from paretolens.trainers.distributed import ALONE, World, loss_of, shared_batch_norms
from paretolens.trainers.optimiser import OptimiserKind, make_optimiser
from paretolens.trainers.precision import Precision, Stepper
from paretolens.trainers.rates import RateShape, plateau_share, step_share
from paretolens.trainers.validation import Score

__all__ = ["Batch", "History", "LoopSettings", "Monitor", "Objective", "Report", "learning_rate_at", "train_loop"]

Report = Callable[[Mapping[str, float]], None]
"""Takes the figures of one epoch; may raise to stop the work."""


class Monitor(StrEnum):
    """By which validation figure the best epoch is chosen."""

    LOSS = "loss"
    ACCURACY = "accuracy"
    AUC = "auc"
    LAST = "last"
    """No choice: the last epoch, for stages whose aim no validation figure shows."""


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How a stage is trained."""

    epochs: Annotated[int, Ge(1)] = 6
    """Passes over the training split."""
    batch_size: Annotated[int, Ge(2)] = 16
    """Clips in one step."""
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Highest learning rate."""
    optimiser: OptimiserKind = OptimiserKind.ADAMW
    """Which rule moves the weights: adamw or sgd."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Momentum of sgd."""
    weight_decay: Annotated[float, Ge(0)] = 1e-2
    """Weight decay of matrices and kernels, decoupled with adamw, L2 with sgd; biases and norms have none."""
    warmup: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Share of the steps in which the learning rate rises from 0; then it falls as a cosine."""
    final_rate: Annotated[float, Ge(0), Le(1)] = 0.01
    """Learning rate of the last step as a share of the highest."""
    clip_norm: Annotated[float, Gt(0)] = 1.0
    """Largest norm of the gradient; longer ones are scaled down."""
    rate: RateShape = RateShape.COSINE
    """How the learning rate runs; plateau and step have no warm-up."""
    step_epochs: Annotated[int, Ge(1)] = 15
    """With the rate step: epochs between two falls."""
    step_factor: Annotated[float, Gt(0), Lt(1)] = 0.1
    """With the rate step: share that is left after a fall."""
    monitor: Monitor = Monitor.LOSS
    """Validation figure by which the best epoch is kept."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What an objective is asked for."""

    rows: Tensor
    """(B,) int64, rows of the training split."""
    epoch: int
    """Number of the epoch, from 0."""
    step: int
    """Number of the step within the epoch, from 0."""
    generator: torch.Generator
    """Source of every random choice about this batch."""


Objective = Callable[[nn.Module, Batch], Tensor]
"""The loss () of one batch; the model is in training mode."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What a stage went through."""

    epochs: tuple[Mapping[str, float], ...]
    """What was reported, one mapping per epoch."""
    best_epoch: int
    """Epoch whose weights the model now has, from 0."""
    best: Mapping[str, float]
    """What was reported in that epoch."""


def learning_rate_at(step: int, steps: int, settings: LoopSettings) -> float:
    """Learning rate of step 0..steps−1: linear warm-up, then half a cosine (Loshchilov and Hutter 2017, eq. 5)."""
    rise = round(settings.warmup * steps)
    if step < rise:
        return settings.learning_rate * (step + 1) / (rise + 1)
    progress = (step - rise) / max(1, steps - 1 - rise)
    share = settings.final_rate + (1 - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))
    return settings.learning_rate * share


def train_loop(
    model: nn.Module,
    objective: Objective,
    *,
    count: int,
    validate: Callable[[nn.Module], Score],
    settings: LoopSettings,
    seed: int,
    stage: str,
    report: Report,
    folder: Path | None = None,
    precision: Precision = Precision.FLOAT32,
    patience: int = 0,
    world: World = ALONE,
) -> History:
    """Train `model` in place; afterwards it has the weights of the best epoch and is in eval mode.

    Args:
        model: trained where it is (device included).
        objective: loss of a batch.
        count: number of training clips.
        validate: figures of the model on the validation split.
        settings: how to train.
        seed: of the order, the dropout and the augmentation.
        stage: prefix of the reported names, and the stage's name in errors.
        report: called after each epoch with `epoch`, `epochs` and `<stage>_{loss,val_loss,val_accuracy,val_auc,seconds}`.
        folder: where a checkpoint is kept after each epoch; an existing one of the same run is continued.
        precision: of products; see `trainers.precision`.
        patience: epochs without a better one after which training ends; 0 = never.
        world: the processes that train together; only the leading one validates, writes and reports.

    Raises:
        ConfigurationError: the batch can't be divided among the processes, or the device lacks the precision.
        TrialError: the loss or its gradient is not finite.
        IntegrityError: the checkpoint is damaged.
        StoreError: the checkpoint cannot be written.
    """
    run = _Run(model=model, settings=settings, count=count, stage=stage, seed=seed, precision=precision, world=world)
    state = load_checkpoint(folder, model, run.optimiser, key=run.key()) if folder else None
    state = state or Checkpoint(epoch=-1, history=(), best_epoch=-1, best_key=(), best_weights={})
    world.wait()  # all have read the checkpoint before the leading process replaces it
    with shared_batch_norms(model, world):
        loss = loss_of(model, objective, world)
        while state.epoch + 1 < settings.epochs and not _is_stale(state, patience):
            epoch, started = state.epoch + 1, time.perf_counter()
            run.follow(state.history)
            mean = run.epoch(loss, epoch)
            score = _agreed_score(validate, model, world)
            figures = _figures(
                stage, epoch=epoch, epochs=settings.epochs, loss=mean, score=score, seconds=time.perf_counter() - started
            )
            state = _advance(state, epoch, figures, _rank(score, settings.monitor, epoch), model)
            if folder and world.leads:
                save_checkpoint(folder, model, run.optimiser, state, key=run.key())
            if world.leads:
                report(figures)
    model.load_state_dict(state.best_weights)
    model.eval()
    return History(epochs=state.history, best_epoch=state.best_epoch, best=state.history[state.best_epoch])


def _is_stale(state: Checkpoint, patience: int) -> bool:
    return 0 < patience <= state.epoch - state.best_epoch


def _agreed_score(validate: Callable[[nn.Module], Score], model: nn.Module, world: World) -> Score:
    """The leading process's figures, so that all keep the same epoch."""
    own = validate(model) if world.leads else Score(loss=0.0, accuracy=0.0, auc=0.0)
    loss, accuracy, auc = world.agree((own.loss, own.accuracy, own.auc))
    return Score(loss=loss, accuracy=accuracy, auc=auc)


class _Run:
    """Optimiser and schedule of one stage."""

    def __init__(
        self, *, model: nn.Module, settings: LoopSettings, count: int, stage: str, seed: int, precision: Precision, world: World
    ) -> None:
        world.require_divisible(settings.batch_size)
        self.model = model
        self.world = world
        self.device = next(model.parameters()).device
        self.settings = settings
        self.count = count
        self.stage = stage
        self.seed = seed
        self.per_epoch = max(1, count // settings.batch_size)  # a last short batch would upset batch norms
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = make_optimiser(
            settings.optimiser,
            self.parameters,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
        )
        self.stepper = Stepper(precision, self.device, self.optimiser)

        self.share = 1.0

    def follow(self, history: Sequence[Mapping[str, float]]) -> None:
        """Set the learning rate of an epoch by what came before it."""
        settings = self.settings
        if settings.rate is RateShape.PLATEAU:
            self.share = plateau_share([figures[f"{self.stage}_val_loss"] for figures in history])
        elif settings.rate is RateShape.STEP:
            self.share = step_share(len(history), every=settings.step_epochs, factor=settings.step_factor)

    def key(self) -> dict[str, str | int]:
        """What must be equal for a checkpoint to be continued."""
        return {"stage": self.stage, "seed": self.seed, "count": self.count, "settings": repr(self.settings)}

    def epoch(self, loss: Callable[[Batch], Tensor], epoch: int) -> float:
        """One pass; the mean loss."""
        self.model.train()
        generator = torch.Generator().manual_seed(_mix(self.seed, epoch))
        order = torch.randperm(self.count, generator=generator)
        if self.world.rank:
            generator.manual_seed(_mix(self.seed, epoch) + 1 + self.world.rank)  # each draws for its own clips
        total = 0.0
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(_mix(self.seed, epoch) + 1 + self.world.rank)  # dropout takes torch's own generator
            for step in range(self.per_epoch):
                rows = self.world.part(order[step * self.settings.batch_size : (step + 1) * self.settings.batch_size])
                with self.stepper.forward():
                    value = loss(Batch(rows=rows, epoch=epoch, step=step, generator=generator))
                total += self._step(value, epoch, step)
        return self.world.mean(total / self.per_epoch)

    def _step(self, loss: Tensor, epoch: int, step: int) -> float:
        value = loss.item()
        self._require_finite("loss", value, epoch, step)
        rate = self.settings.learning_rate * self.share
        if self.settings.rate is RateShape.COSINE:
            rate = learning_rate_at(epoch * self.per_epoch + step, self.settings.epochs * self.per_epoch, self.settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        norm = self.stepper.backward(loss, self.parameters, self.settings.clip_norm)
        self._require_finite("gradient's norm", norm, epoch, step)
        self.stepper.step()
        return value

    def _require_finite(self, what: str, value: float, epoch: int, step: int) -> None:
        if not math.isfinite(value):
            raise TrialError(
                f"the {what} of stage {self.stage} must be finite; got {value} in epoch {epoch + 1}, step {step + 1}: "
                f"lower the learning rate ({self.settings.learning_rate:g})"
            )


def _advance(state: Checkpoint, epoch: int, figures: dict[str, float], rank: tuple[float, ...], model: nn.Module) -> Checkpoint:
    history = (*state.history, figures)
    if state.best_key and rank <= tuple(state.best_key):
        return Checkpoint(
            epoch=epoch, history=history, best_epoch=state.best_epoch, best_key=state.best_key, best_weights=state.best_weights
        )
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return Checkpoint(epoch=epoch, history=history, best_epoch=epoch, best_key=rank, best_weights=weights)


def _rank(score: Score, monitor: Monitor, epoch: int) -> tuple[float, ...]:
    """Larger is better; ties go to the lower loss."""
    first = {
        Monitor.LOSS: -score.loss, Monitor.ACCURACY: score.accuracy, Monitor.AUC: score.auc, Monitor.LAST: float(epoch),
    }  # fmt: skip
    return (first[monitor], -score.loss)


def _figures(stage: str, *, epoch: int, epochs: int, loss: float, score: Score, seconds: float) -> dict[str, float]:
    return {
        "epoch": float(epoch + 1),
        "epochs": float(epochs),
        f"{stage}_loss": loss,
        f"{stage}_val_loss": score.loss,
        f"{stage}_val_accuracy": score.accuracy,
        f"{stage}_val_auc": score.auc,
        f"{stage}_seconds": seconds,
    }


def _mix(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch * 7919) % (2**62)
