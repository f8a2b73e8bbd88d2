"""Batch norms folded into the convolutions before them while a model is explained: the same function with
fewer passes over memory.

Which norm follows which convolution is seen in a run, not guessed from names: the norm must be given the very tensor that the
convolution returned, and autograd's graph must show that nothing else reads it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from paretolens.evaluators.explain.forward import logits, logits_in_chunks

__all__ = ["foldable_pairs", "hooked", "norms_folded"]


def foldable_pairs(model: nn.Module, inputs: Sequence[Tensor]) -> tuple[list[tuple[str, str]], Tensor]:
    """Paths of convolutions and of the batch norms that alone read what they give, and the logits (B,) of the samples.

    Only plain modules without hooks that stand in one place of the model and run once are named, so that nothing else can see
    the change. `inputs` are a few samples; the model is in evaluation mode.
    """
    convolutions, norms = places(model, nn.Conv2d), places(model, nn.BatchNorm2d)
    made: dict[str, Tensor] = {}
    read: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def note(name: str, kept: dict[str, Tensor], tensor: Tensor) -> None:
        calls[name] += 1
        kept[name] = tensor

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: note(name, made, output))
        for name, module in convolutions.items()
    ] + [
        module.register_forward_pre_hook(lambda _, given, name=name: note(name, read, given[0])) for name, module in norms.items()
    ]
    try:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
            logit = logits(model, [x.clone() for x in leaves])  # a model may write into what it is given, but not into leaves
    finally:
        for hook in hooks:
            hook.remove()
    readers = readers_of(logit.grad_fn)
    owners = {id(tensor): name for name, tensor in made.items() if calls[name] == 1 and readers[tensor.grad_fn] == 1}
    pairs = [(owners[id(tensor)], name) for name, tensor in read.items() if calls[name] == 1 and id(tensor) in owners]
    return pairs, logit.detach()


def places(model: nn.Module, kind: type[nn.Module]) -> dict[str, Any]:
    """Plain modules of a kind by their path: no sub-class, no hooks, in one place only; norms with fixed statistics."""
    count = Counter(id(child) for module in model.modules() for child in module.children())
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) is kind
        and name
        and count[id(module)] == 1
        and not hooked(module)
        and "forward" not in vars(module)
        and not (isinstance(module, nn.BatchNorm2d) and (module.training or module.running_mean is None))
    }


def readers_of(last: Any) -> Counter[Any]:
    """How many steps of autograd's graph, from the last one back, read what each step gave."""
    readers: Counter[Any] = Counter()
    seen, left = {last}, [last] if last is not None else []
    while left:
        for parent, _ in left.pop().next_functions:
            if parent is not None:
                readers[parent] += 1
                if parent not in seen:
                    seen.add(parent)
                    left.append(parent)
    return readers


def hooked(module: nn.Module) -> bool:
    """Whether something listens to a module."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks)


@contextmanager
def norms_folded(model: nn.Module, inputs: Sequence[Tensor]) -> Iterator[nn.Module]:
    """Fold inside of the block, for a model that is held still; its own modules are put back at the end. Not thread safe."""
    swapped: list[tuple[nn.Module, str, nn.Module]] = []
    pairs, before = foldable_pairs(model, inputs)

    def swap(path: str, module: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        owner = model.get_submodule(parent)
        swapped.append((owner, name, owner.get_submodule(name)))
        owner._modules[name] = module

    try:
        for first, second in pairs:
            convolution, norm = model.get_submodule(first), model.get_submodule(second)
            assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            fused = fuse_conv_bn_eval(convolution, norm).requires_grad_(False)
            if fused.weight.device.type == "cpu":
                fused = fused.to(memory_format=torch.channels_last)
            swap(first, fused)
            swap(second, nn.Identity())
        if swapped and not torch.allclose(logits_in_chunks(model, inputs, len(inputs[0])), before, rtol=1e-4, atol=1e-4):
            put_back(swapped)  # a weight is read elsewhere too
        yield model
    finally:
        put_back(swapped)


def put_back(swapped: list[tuple[nn.Module, str, nn.Module]]) -> None:
    """The model's own modules in their places; the list is empty then."""
    while swapped:
        owner, name, module = swapped.pop()
        owner._modules[name] = module
