"""Which layer feeds which, as one forward pass shows it: enough to fold batch norms and to place quantisers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from paretolens.models.modes import standing_still

__all__ = ["Flow", "innermost", "trace_flow"]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Direct connections between the innermost modules of a model; anything done by a plain function breaks one."""

    sources: Mapping[str, str | None]
    """Module → the module whose output is its (first) input; None where a function made it, or where calls differ."""
    targets: Mapping[str, tuple[str, ...]]
    """Module → the modules that take its output directly. Functions may take it too, unseen."""
    outputs: frozenset[str]
    """Modules whose output is an output of the model."""
    positions: Mapping[str, int]
    """Module → positions (pixels, frames) of its largest output; 1 for (B, C) and for 1×1 maps."""


def trace_flow(model: nn.Module, example: tuple[Tensor, ...]) -> Flow:
    """Run the model once in eval mode and note who takes whose output. Its mode is restored."""
    recorder = _Recorder()
    handles = [module.register_forward_hook(recorder.hook(path)) for path, module in innermost(model)]
    try:
        with standing_still(model), torch.no_grad():
            out = model(*example)
    finally:
        for handle in handles:
            handle.remove()
    ends = frozenset(recorder.makers[id(x)] for x in out if id(x) in recorder.makers)
    return Flow(sources=recorder.sources, targets=recorder.targets, outputs=ends, positions=recorder.positions)


def innermost(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers without children, and batch norms with their activation (timm's) as one; identities do nothing and are left out."""
    norms = [path for path, module in model.named_modules() if isinstance(module, _BatchNorm)]
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{norm}.") for norm in norms)
        if (path in norms or not any(module.children())) and not inside and type(module) is not nn.Identity:
            yield path, module


class _Recorder:
    """Follows tensors by identity; in-place layers hand on the same tensor, so the latest maker counts."""

    def __init__(self) -> None:
        self.makers: dict[int, str] = {}
        self.alive: list[Tensor] = []  # an id is only unique as long as its tensor lives
        self.sources: dict[str, str | None] = {}
        self.targets: dict[str, tuple[str, ...]] = {}
        self.positions: dict[str, int] = {}

    def hook(self, path: str) -> Any:
        def note(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            source = self.makers.get(id(inputs[0]))
            self.sources[path] = source if self.sources.get(path, source) == source else None
            if source is not None:
                self.targets[source] = (*self.targets.get(source, ()), path)
            self.makers[id(first)] = path
            self.alive += [inputs[0], first]
            self.positions[path] = max(self.positions.get(path, 1), first[0, 0].numel() if first.ndim > 3 else 1)

        return note
