"""Several processes that train one model together: torchrun starts them, each takes its part of every batch.

A batch means the same whatever the number of processes: `batch_size` clips over all of them, drawn in one order. Gradients are
averaged (torch's DistributedDataParallel), and batch norms take their statistics over all parts, so that n processes do what one
process does with the whole batch. What differs: random choices about a clip (mirroring, dropout, hidden frames) are drawn by each
process for itself, and a term of a loss that is a mean over some clips only is averaged over the parts' means.

`World` is owned by the process that joined; all processes must call its methods in the same order.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from paretolens.data.store import build_once
from paretolens.errors import ConfigurationError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from paretolens.trainers.loop import Batch, Objective

__all__ = ["ALONE", "World", "build_together", "joined", "loss_of", "shared_batch_norms"]

PATIENCE = timedelta(hours=6)
"""How long a process waits for the others: the first may be drawing or decoding a data set. torchrun ends all if one fails."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes that train together, seen from one of them; the default is a process on its own."""

    rank: int = 0
    """Number of this process, from 0."""
    size: int = 1
    """Number of processes."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where this process trains."""
    norms: "ProcessGroup | None" = None
    """Group for the batch norms' sums, apart from that of the gradients, which travel at the same time."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates, reports and writes."""
        return self.rank == 0

    def part(self, rows: Tensor) -> Tensor:
        """This process's share of the rows of a batch."""
        return rows[self.rank :: self.size]

    def agree(self, values: Sequence[float]) -> tuple[float, ...]:
        """The leading process's values, in every process; all give as many."""
        return self._reduced(list(values) if self.leads else [0.0] * len(values))

    def mean(self, value: float) -> float:
        """The mean of all processes' values."""
        return self._reduced([value / self.size])[0]

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.agree((0.0,))

    def require_divisible(self, batch_size: int) -> None:
        """See that every process gets as many clips of a batch.

        Raises:
            ConfigurationError: it does not.
        """
        if batch_size % self.size:
            raise ConfigurationError(
                f"batch_size {batch_size}: must be a multiple of the {self.size} processes that share a batch; change either"
            )

    def _reduced(self, values: list[float]) -> tuple[float, ...]:
        """Sums over all processes."""
        if self.size == 1:
            return tuple(values)
        held = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(held)
        return tuple(held.tolist())


ALONE = World()
"""A process on its own, on the CPU."""


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that torchrun started; without torchrun a world of one, on a GPU if there is one.

    Raises:
        ConfigurationError: more processes than GPUs on this machine.
    """
    import torch.distributed as dist

    cuda = torch.cuda.is_available()
    if not dist.is_torchelastic_launched():
        yield World(device=torch.device("cuda" if cuda else "cpu"))
        return
    local = dist.get_node_local_rank()
    if cuda and local >= torch.cuda.device_count():
        raise ConfigurationError(
            f"process {local} of this machine has no GPU of its own, there are {torch.cuda.device_count()}: "
            "give torchrun a smaller --nproc-per-node"
        )
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    norms = cast("ProcessGroup", dist.new_group(timeout=PATIENCE))  # of all processes, so that this one is a member
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), device=device, norms=norms)
    finally:
        dist.destroy_process_group()


def build_together(folder: Path, build: Callable[[Path], None], *, beside: Callable[[], object], world: World) -> None:
    """`data.store.build_once` by several processes: the leading one builds, the others do their part beside it.

    Args:
        folder: the entry's final place.
        build: fills a new folder, in the leading process.
        beside: what the others do meanwhile, if the entry has to be built.
        world: the processes.
    """
    if world.leads:
        started: list[Path] = []

        def lead(place: Path) -> None:
            started.append(place)
            world.agree((1.0,))
            build(place)

        build_once(folder, lead)
        if not started:
            world.agree((0.0,))
    elif world.agree((0.0,))[0]:
        beside()
    world.wait()


def loss_of(model: nn.Module, objective: "Objective", world: World) -> Callable[["Batch"], Tensor]:
    """Loss of this process's part of a batch; its gradients are those of the mean over all processes.

    A loss may call the model in ways of its own (`forward_deep`), so that what is made parallel is the loss.
    """
    step = _Step(model, objective)
    if world.size == 1:
        return step
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")  # its successor came after torch 2.9
        return nn.parallel.DistributedDataParallel(step, find_unused_parameters=True, broadcast_buffers=False)


class _Step(nn.Module):
    def __init__(self, model: nn.Module, objective: "Objective") -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: "Batch") -> Tensor:
        return self.objective(self.model, batch)


@contextmanager
def shared_batch_norms(model: nn.Module, world: World) -> Iterator[None]:
    """Within, batch norms in training mode take mean and variance over the parts of all processes.

    Torch's SyncBatchNorm runs on GPUs only and is another module, with which a model could not be saved as what it is.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)] if world.size > 1 else []
    for module in norms:
        module.forward = partial(_normalised, module, world)  # type: ignore[method-assign]  # taken back below
    try:
        yield
    finally:
        for module in norms:
            del module.forward


def _normalised(norm: _BatchNorm, world: World, x: Tensor) -> Tensor:
    """Batch norm (Ioffe and Szegedy 2015, algorithm 1) over the parts of all processes; (N, C, …) → the same."""
    if not norm.training or norm.running_mean is None or norm.running_var is None:
        return type(norm).forward(norm, x)
    shape, axes = (1, -1, *(1,) * (x.ndim - 2)), (0, *range(2, x.ndim))
    values = x.float()
    count = values.new_full((1,), values.numel() / values.shape[1])
    first = _Sum.apply(torch.cat((values.sum(axes), count)), world.norms)
    total = first[-1].detach()
    mean = first[:-1] / total
    centred = values - mean.reshape(shape)
    variance = _Sum.apply(centred.square().sum(axes), world.norms) / total
    with torch.no_grad():
        rate = norm.momentum if norm.momentum is not None else 0.1
        norm.running_mean.lerp_(mean, rate)
        norm.running_var.lerp_(variance * total / (total - 1).clamp(min=1), rate)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
    out = centred * torch.rsqrt(variance + norm.eps).reshape(shape)
    if norm.affine:
        out = out * norm.weight.reshape(shape) + norm.bias.reshape(shape)
    return cast("Tensor", out).to(x.dtype)


class _Sum(torch.autograd.Function):
    """Sum over all processes, whose gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: "ProcessGroup | None") -> Tensor:
        ctx.group = group
        return _summed(values, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _summed(gradients[0], ctx.group), None


def _summed(values: Tensor, group: "ProcessGroup | None") -> Tensor:
    held = values.clone()
    torch.distributed.all_reduce(held, group=group)
    return held
