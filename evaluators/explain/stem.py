"""The affine start of a model, run once per sample instead of once per node.

On the straight path b + α(x - b), whatever is affine in the input is affine in α too: h(α) = h(b) + α(h(x) - h(b)). So all up to
the first bend (choice of frames, sharpening, shrinking, the first convolution with its folded norm) runs at the two ends of a
path only. The nodes go through the rest, and their summed gradients come back through the stem once:
Σ_k w_k ∂f/∂x = Jᵀ Σ_k w_k ∂f/∂h. This is exact up to rounding.

A stem is proved before it is used: every step of autograd's graph from the input to the bend must be of a kind that is affine,
the rest of the model must give the same logits without the input, and two points of a path must agree with the whole model.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from paretolens.errors import ParetolensError
from paretolens.evaluators.explain.fold import hooked
from paretolens.evaluators.explain.forward import logits

__all__ = ["Cut", "blended", "find_cut", "run_rest", "run_stem"]

_LOG = logging.getLogger(__name__)

LARGEST = 6
"""A bend may hold at most so many times the input's numbers: both ends of a block of samples are kept there."""
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""What a stem may end with."""
AFFINE = frozenset((
    "AddBackward0", "AddmmBackward0", "AsStridedBackward0", "AvgPool1DBackward0", "AvgPool2DBackward0", "AvgPool3DBackward0",
    "CloneBackward0", "ConstantPadNdBackward0", "ConvolutionBackward0", "DivBackward0", "ExpandBackward0", "IndexBackward0",
    "IndexSelectBackward0", "MaskedFillBackward0", "MeanBackward0", "MeanBackward1", "MmBackward0", "MulBackward0",
    "NativeBatchNormBackward0", "NegBackward0", "PermuteBackward0", "ReshapeAliasBackward0", "SelectBackward0",
    "SliceBackward0", "SqueezeBackward0", "SqueezeBackward1", "SubBackward0", "SumBackward0", "SumBackward1", "TBackward0",
    "ToCopyBackward0", "TransposeBackward0", "UnsafeViewBackward0", "UnsqueezeBackward0", "UpsampleBilinear2DBackward0",
    "UpsampleNearest2DBackward0", "ViewBackward0",
))  # fmt: skip
"""Steps of autograd's graph that are affine in the one tensor that depends on an input."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The end of the stem of one input: the last layer before its path bends."""

    index: int
    """Position of the input."""
    name: str
    """Path of the layer whose output takes the input's place."""
    rows: int
    """Rows of that output per sample: the frames of a video, 1 else."""
    hollow: bool
    """Whether the model runs with a tensor without content in the input's place; else zeros take it."""


class Reached(Exception):  # noqa: N818  # no error: it ends a run whose rest is not needed
    """The end of the stem has been reached."""


def find_cut(model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Cut | None:
    """The stem of the largest input of a model that is held still, proved on two samples; None where there is none."""
    two = [x[:2] for x in inputs]
    try:
        cut = candidate(model, two, baseline)
        ways = [] if cut is None else [replace(cut, hollow=hollow) for hollow in (True, False)]
        return next((way for way in ways if agrees(model, two, baseline, way)), None)
    except (ParetolensError, RuntimeError, TypeError, ValueError) as error:
        _LOG.debug("%s is explained without a stem: %s", type(model).__name__, error)
    return None


def candidate(model: nn.Module, two: Sequence[Tensor], baseline: Sequence[Tensor | None]) -> Cut | None:
    """The last convolution or linear layer whose output is affine in the largest input, and in no other."""
    leaves = [x if b is None else x.detach().clone().requires_grad_() for x, b in zip(two, baseline, strict=True)]
    seen: dict[str, tuple[Any, int, int]] = {}
    with torch.enable_grad(), noting_graphs(model, seen):
        logits(model, leaves)
    positions = {id(leaf): index for index, leaf in enumerate(leaves) if leaf.requires_grad}
    largest = max(positions.values(), key=lambda index: two[index].numel())
    known: dict[Any, frozenset[int] | None] = {}
    found = None
    for name, (node, numbers, rows) in seen.items():
        fits = numbers <= LARGEST * two[largest].numel() and rows % len(two[0]) == 0
        if fits and affine_sources(node, positions, known) == frozenset((largest,)):
            found = Cut(index=largest, name=name, rows=rows // len(two[0]), hollow=True)
    return found


@contextmanager
def noting_graphs(model: nn.Module, seen: dict[str, tuple[Any, int, int]]) -> Iterator[None]:
    """Note autograd's node, the size and the rows of what every layer gives that runs once, in the order they finish."""
    calls: dict[str, int] = {}

    def note(name: str, output: object) -> None:
        calls[name] = calls.get(name, 0) + 1
        seen.pop(name, None)
        if calls[name] == 1 and isinstance(output, Tensor) and output.grad_fn is not None and output.dim() > 1:
            seen[name] = (output.grad_fn, output.numel(), len(output))

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in model.named_modules()
        if isinstance(module, LAYERS) and name and not hooked(module) and "forward" not in vars(module)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def affine_sources(node: Any, positions: Mapping[int, int], known: dict[Any, frozenset[int] | None]) -> frozenset[int] | None:
    """Inputs that a node of autograd's graph is affine in; None where it is not affine in all that it depends on."""
    if node in known:
        return known[node]
    name, parents = type(node).__name__, [parent for parent, _ in node.next_functions]
    result: frozenset[int] | None = None
    if name == "AccumulateGrad":
        index = positions.get(id(node.variable))
        result = None if index is None else frozenset((index,))
    elif name in AFFINE and alone(node, name, parents):
        parts = [affine_sources(parent, positions, known) for parent in parents if parent is not None]
        if all(part is not None for part in parts):
            result = frozenset().union(*(part for part in parts if part is not None))
    known[node] = result
    return result


def alone(node: Any, name: str, parents: list[Any]) -> bool:
    """Products are affine in one factor only, quotients in the dividend, and a norm by fixed statistics."""
    if name == "NativeBatchNormBackward0":
        return not node._saved_training and parents[1:] == [None] * (len(parents) - 1)
    if name == "DivBackward0":
        return len(parents) == 1 or parents[1] is None
    if name in ("MulBackward0", "MmBackward0", "AddmmBackward0", "ConvolutionBackward0", "MaskedFillBackward0"):
        return sum(parent is not None for parent in parents) == 1
    return True


def agrees(model: nn.Module, two: Sequence[Tensor], baseline: Sequence[Tensor | None], cut: Cut) -> bool:
    """Whether the model without its stem says the same as the whole one, at another place of each sample's path."""
    places = torch.tensor([[0.3], [0.8]])[: len(two[0])]
    starts = [x if b is None else b.to(x).expand_as(x) for x, b in zip(two, baseline, strict=True)]
    with torch.no_grad():
        points = [blended(start, x, places) for start, x in zip(starts, two, strict=True)]
        whole = logits(model, points)
        low, high = (run_stem(model, end, cut) for end in (starts, two))
        points[cut.index] = blended(low, high, places)
        try:
            found = run_rest(model, points, cut, two)
        except (ParetolensError, RuntimeError, TypeError, ValueError):
            return False
    if found.device != whole.device or found.shape != whole.shape:
        return False
    return torch.allclose(found, whole, rtol=1e-5, atol=2e-5)


def blended(start: Tensor, stop: Tensor, position: Tensor) -> Tensor:
    """Points start + α(stop - start), (B·K, ...), of B paths at `position` (B, K); masks and whole numbers stay as they are.

    Not a view, so that a model may write into it.
    """
    if stop.is_floating_point():
        points: Tensor = Blend.apply(start, stop, position.to(stop))
        return points
    return stop[:, None].expand(len(stop), position.shape[1], *stop.shape[1:]).flatten(0, 1)


class Blend(torch.autograd.Function):
    """Linear interpolation whose gradient, with respect to the far end, is summed over the nodes in one pass over memory."""

    @staticmethod
    def forward(ctx: Any, start: Tensor, stop: Tensor, alpha: Tensor) -> Tensor:
        """(B, ...), (B, ...) and (B, K) → (B·K, ...)."""
        ctx.save_for_backward(alpha)
        wide = (*alpha.shape, *stop.shape[1:])
        weight = alpha.view(*alpha.shape, *[1] * (stop.dim() - 1))
        points = torch.lerp(start[:, None].expand(wide), stop[:, None].expand(wide), weight)
        merged: Tensor = torch.ops.aten._unsafe_view(points, (-1, *stop.shape[1:]))
        return merged

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        """Σ_k α_k · gradient, (B, ...)."""
        (alpha,) = ctx.saved_tensors
        order = sorted(range(1, gradient.dim()), key=lambda axis: -gradient.stride()[axis])
        dense = gradient.permute(0, *order)  # as it lies in memory
        total = torch.bmm(alpha[:, None], dense.reshape(*alpha.shape, -1)).view(len(alpha), *dense.shape[1:])
        back = [0, *(1 + order.index(axis) for axis in range(1, gradient.dim()))]
        return None, total.permute(back), None


def run_stem(model: nn.Module, inputs: Sequence[Tensor], cut: Cut) -> Tensor:
    """What the last layer of the stem gives, (B, rows, ...); the model runs no further."""
    whole = model.get_submodule(cut.name).forward
    found: list[Tensor] = []

    def stop(*arguments: Any, **named: Any) -> Tensor:
        found.append(whole(*arguments, **named).unflatten(0, (-1, cut.rows)))
        raise Reached

    with forward_replaced(model, cut.name, stop), suppress(Reached):
        model(*inputs)
    return found[0]


def run_rest(model: nn.Module, points: Sequence[Tensor], cut: Cut, inputs: Sequence[Tensor]) -> Tensor:
    """Logits (N,) of points, of which that of the cut input is at the end of its stem, (N, rows, ...).

    `inputs` tell the shape that the model expects.
    """
    bend, x, given = points[cut.index], inputs[cut.index], list(points)
    shape = (len(bend), *x.shape[1:])
    given[cut.index] = torch.empty(shape, dtype=x.dtype, device="meta") if cut.hollow else x.new_zeros(1).expand(shape)
    with forward_replaced(model, cut.name, giving(torch.ops.aten._unsafe_view(bend, (-1, *bend.shape[2:])))):
        return logits(model, given)


def giving(output: Tensor) -> Callable[..., Tensor]:
    """A forward that gives a tensor whatever it is called with."""
    return lambda *_arguments, **_named: output


@contextmanager
def forward_replaced(model: nn.Module, name: str, forward: Callable[..., Tensor]) -> Iterator[None]:
    """Another function in the place of a module's `forward`."""
    attributes = vars(model.get_submodule(name))
    attributes["forward"] = forward
    try:
        yield
    finally:
        del attributes["forward"]
