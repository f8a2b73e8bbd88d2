"""The straight paths of a batch as a model sees them: points on them, logits at these points, and gradients summed over them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from paretolens.errors import BackendError
from paretolens.evaluators.explain.forward import logits
from paretolens.evaluators.explain.stem import Cut, blended, run_rest, run_stem

__all__ = ["Paths", "keep_freed_memory"]

KEPT_BYTES = 31 * 2**20


class Paths:
    """B paths from the baseline to the inputs through a model that is held still.

    What is affine in the input of `cut` (see `paretolens.evaluators.explain.stem`) has run at both ends already; `chunk` points
    go through the rest at once, which bounds the memory. Not thread safe.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Sequence[Tensor],
        baseline: Sequence[Tensor | None],
        *,
        chunk: int,
        cut: Cut | None = None,
    ) -> None:
        self.model, self.chunk, self.cut = model, chunk, cut
        self.moving = [index for index, b in enumerate(baseline) if b is not None]
        self.inputs = [quick(x) for x in inputs]
        self.starts = [x if b is None else quick(b.to(x)).expand_as(x) for x, b in zip(self.inputs, baseline, strict=True)]
        self.low, self.high = list(self.starts), list(self.inputs)
        if cut is not None:
            with torch.no_grad():
                self.low[cut.index], self.high[cut.index] = (self._bend(end, cut) for end in (self.starts, self.inputs))

    def rows(self, index: Tensor) -> "Paths":
        """Some of the paths; nothing runs again."""
        some = object.__new__(Paths)
        vars(some).update(vars(self))
        for name in ("inputs", "starts", "low", "high"):
            setattr(some, name, [x[index.to(x.device)] for x in getattr(self, name)])
        return some

    def __len__(self) -> int:
        return len(self.inputs[0])

    def logits(self, position: Tensor) -> Tensor:
        """Logits (B, P) float64 on the CPU at `position` (B, P), without gradients."""
        found = torch.empty(position.shape, dtype=torch.float64)
        with torch.inference_mode():
            for rows, nodes in self._pieces(position.shape[1]):
                points = [blended(a[rows], b[rows], position[rows, nodes]) for a, b in zip(self.low, self.high, strict=True)]
                seen = self._run(points)
                found[rows, nodes] = seen.view(found[rows, nodes].shape).to("cpu", torch.float64)
        return found

    def gradient_sums(self, position: Tensor, weight: Tensor) -> list[Tensor | None]:
        """Σ_k w_k ∂f/∂x at the nodes `position` (B, K), with weights (B, K), for each input; None for those that do not move.

        Each point's logit is weighted by w/α, for the gradient is taken with respect to the far end of the path, of which the
        point holds α: what comes back is already weighted, and summed over the nodes.

        Raises:
            BackendError: the logit depends on no input in a way that torch can differentiate.
        """
        sums: dict[int, Tensor] = {index: torch.zeros_like(self.high[index]) for index in self.moving}
        alpha = position.clamp_min(1e-9)
        scale = weight / alpha
        reached = False
        for rows, nodes in self._pieces(position.shape[1]):
            ends = {index: self.high[index][rows].detach().requires_grad_() for index in self.moving}
            with torch.enable_grad():
                points = [
                    blended(low[rows], ends.get(index, high[rows]), alpha[rows, nodes])
                    for index, (low, high) in enumerate(zip(self.low, self.high, strict=True))
                ]
                logit = self._run(points)
                if not logit.requires_grad:
                    break
                total = (logit * scale[rows, nodes].reshape(-1).to(logit)).sum()
            for index, gradient in zip(ends, torch.autograd.grad(total, list(ends.values()), allow_unused=True), strict=True):
                if gradient is not None:
                    sums[index][rows] += gradient
                    reached = True
        if not reached:
            raise BackendError(
                f"{type(self.model).__name__} cannot be differentiated with respect to its inputs, so it has no gradients to "
                "integrate; explain its torch twin instead of the exported artefact"
            )
        if self.cut is not None:
            sums[self.cut.index] = self._back(sums[self.cut.index], self.cut)
        return [sums.get(index) for index in range(len(self.inputs))]

    def _pieces(self, nodes: int) -> Iterator[tuple[slice, slice]]:
        """Rows and nodes that go through the model together."""
        rows, step = max(1, self.chunk // nodes), min(self.chunk, nodes)
        for start in range(0, len(self), rows):
            for first in range(0, nodes, step):
                yield slice(start, start + rows), slice(first, min(first + step, nodes))

    def _run(self, points: list[Tensor]) -> Tensor:
        return logits(self.model, points) if self.cut is None else run_rest(self.model, points, self.cut, self.inputs)

    def _bend(self, points: Sequence[Tensor], cut: Cut) -> Tensor:
        """What the stem gives for whole samples, `chunk` at a time."""
        starts = range(0, len(self), self.chunk)
        parts = [run_stem(self.model, [x[i : i + self.chunk] for x in points], cut).flatten(0, 1) for i in starts]
        whole: Tensor = torch.cat(parts).unflatten(0, (-1, cut.rows))  # joined as pictures, which keeps their memory format
        return whole

    def _back(self, total: Tensor, cut: Cut) -> Tensor:
        """A gradient at the end of the stem taken back to the input."""
        parts = []
        for start in range(0, len(self), self.chunk):
            points = [x[start : start + self.chunk] for x in self.inputs]
            leaf = points[cut.index] = points[cut.index].detach().requires_grad_()
            with torch.enable_grad():
                bend = run_stem(self.model, points, cut)
            parts.append(torch.autograd.grad(bend, leaf, total[start : start + self.chunk])[0])
        return torch.cat(parts)


def keep_freed_memory() -> None:
    """Let the C library keep what is freed instead of giving it back to the system after every layer.

    glibc raises its threshold to the size of the largest mapped block that was freed, 32 MB at most (mallopt(3),
    M_MMAP_THRESHOLD), and keeps twice as much. Faulting pages in again took up to a third of the time of an explanation.
    Nothing is written into the block, so that it costs nothing.
    """
    torch.empty(KEPT_BYTES, dtype=torch.uint8)


def quick(x: Tensor) -> Tensor:
    """Pictures channels last on a CPU, where convolutions are up to twice as fast so."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 and x.device.type == "cpu" else x
