"""Batch norms folded into the convolutions before them: what inference runtimes do, done before quantisers see the weights."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from paretolens.errors import TrialError
from paretolens.trainers.graph import trace_flow

__all__ = ["fold_batch_norms"]

TOLERANCE = 1e-3


def fold_batch_norms(model: nn.Module, example: tuple[Tensor, ...]) -> tuple[str, ...]:
    """Fold in place every batch norm that directly follows a convolution; returns the paths of those folded.

    A folded norm becomes its activation where it has one (timm's BatchNormAct2d) and an `Identity` elsewhere.

    Raises:
        TrialError: the model answers differently afterwards (something else reads a convolution's output).
    """
    model.eval()
    flow = trace_flow(model, example)
    before = _outputs(model, example)
    folded = []
    for path, module in list(model.named_modules()):
        source = flow.sources.get(path)
        if not isinstance(module, _BatchNorm) or source is None or flow.targets[source] != (path,):
            continue
        conv = model.get_submodule(source)
        if isinstance(conv, nn.Conv1d | nn.Conv2d) and conv.out_channels == module.num_features:
            _fold(conv, module)
            activation = getattr(module, "act", None)
            model.set_submodule(path, activation if isinstance(activation, nn.Module) else nn.Identity())
            folded.append(path)
    worst = max((float((a - b).abs().max()) for a, b in zip(before, _outputs(model, example), strict=True)), default=0.0)
    if not worst <= TOLERANCE * max(1.0, *(float(x.abs().max()) for x in before)):
        raise TrialError(
            f"folding batch norms must not change the answers; it moved one by {worst:g}: the model cannot be folded"
        )
    return tuple(folded)


def _outputs(model: nn.Module, example: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        return [x for x in model(*example) if x.numel()]


def _fold(conv: nn.Conv1d | nn.Conv2d, norm: _BatchNorm) -> None:
    """w' = w·γ/√(σ² + ε), b' = (b − μ)·γ/√(σ² + ε) + β (Jacob et al. 2018, eq. 14)."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None, "batch norms of these models keep statistics"
    factor = torch.rsqrt(variance + norm.eps) * (norm.weight if norm.affine else 1.0)
    shift = -mean * factor + (norm.bias if norm.affine else 0.0)
    if conv.bias is not None:
        shift = shift + conv.bias * factor
    trained = conv.weight.requires_grad
    weight = conv.weight * factor.reshape(-1, *[1] * (conv.weight.ndim - 1))
    conv.weight = nn.Parameter(weight.detach().clone(memory_format=torch.preserve_format), requires_grad=trained)
    conv.bias = nn.Parameter(shift.detach().clone(), requires_grad=trained)
