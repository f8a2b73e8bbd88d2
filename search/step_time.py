"""How long a model takes to learn and to look, before anything is trained."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paretolens.trainers.device import moved

__all__ = ["step_seconds"]

STEPS = 2


def step_seconds(model: nn.Module, inputs: Sequence[Tensor], device: torch.device) -> tuple[float, float]:
    """Seconds per sample of a training step (forward, backward, AdamW) and of a forward pass; the weights hardly change.

    Args:
        model: left in evaluation mode, where it was before.
        inputs: (B, ...) each.
        device: where it is timed. On a CPU, CPU time is, so that neighbours do not count; on a GPU, which they would hold up as
            they will in the search, the time until it is done.
    """
    with moved(device, model):
        there = [x.to(device) for x in inputs]
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(parameters, lr=1e-6, fused=True)
        model.train()

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            _anything(model(*there)).backward()
            optimiser.step()

        def look() -> None:
            with torch.inference_mode():
                model(*there)

        trained = _fastest(step, device)
        model.eval()
        return trained / len(inputs[0]), _fastest(look, device) / len(inputs[0])


def _anything(outputs: Any) -> Tensor:
    return torch.stack([output.float().mean() for output in outputs if output.numel()]).sum()


def _fastest(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of the fastest of some runs after a first one, which allocates and chooses kernels."""
    work()
    times = []
    for _ in range(STEPS):
        began = _now(device)
        work()
        times.append(_now(device) - began)
    return min(times)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()
