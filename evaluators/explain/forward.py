"""Call a model for its raw logit, and hold it still while it is explained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError, TrialError
from paretolens.models.decision import verdicts
from paretolens.models.modes import standing_still

__all__ = ["ClassLogit", "end_logits", "held_still", "logit_of", "logits", "logits_in_chunks", "verdicts_in_chunks"]


class ClassLogit(nn.Module):
    """One class of a classifier against all others: log p/(1 - p) of its softmax, from scores (B, C) or such a field `logit`."""

    def __init__(self, classifier: nn.Module, index: int) -> None:
        super().__init__()
        self.classifier = classifier
        self.index = index

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logit (B, 1).

        Raises:
            BackendError: the classifier gives no scores (B, C) with that class.
        """
        scores = scores_of(self.classifier(*inputs))
        if not isinstance(scores, Tensor) or scores.dim() != 2 or not 0 <= self.index < scores.shape[1] or scores.shape[1] < 2:
            shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise BackendError(
                f"class {self.index} needs scores (B, C) of at least {max(2, self.index + 1)} classes; got {shape}"
            )
        others = torch.cat([scores[:, : self.index], scores[:, self.index + 1 :]], dim=1)
        return scores[:, self.index : self.index + 1] - others.logsumexp(dim=1, keepdim=True)


def scores_of(output: Any) -> Any:
    """What a model returned, or its field `logit`."""
    return output if isinstance(output, Tensor) else getattr(output, "logit", output)  # a tensor has a method `logit`


def logit_of(output: object) -> Tensor:
    """The raw logit (B,) of what a model returned: a field `logit`, or the tensor itself, (B,) or (B, 1).

    Raises:
        BackendError: the output has no logit of that shape.
    """
    logit = output if isinstance(output, Tensor) else getattr(output, "logit", None)  # a tensor has a method `logit`
    if not isinstance(logit, Tensor):
        raise BackendError(f"an explained model returns a tensor or a field `logit`; this one returned {type(output).__name__}")
    if logit.dim() == 2 and logit.shape[1] == 1:
        return logit[:, 0]
    if logit.dim() == 1:
        return logit
    raise BackendError(
        f"an explained model returns one logit per sample, (B,) or (B, 1); this one returned {tuple(logit.shape)}: name its "
        "classes in the signature of the samples, or explain one of them (ClassLogit)"
    )


def logits(model: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    """Raw logits (B,) of a batch.

    Raises:
        ConfigurationError: the model cannot take these inputs.
    """
    try:
        output = model(*inputs)
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigurationError(
            f"teacher and student must take the same inputs: {type(model).__name__} cannot take ({shapes}): {reason}"
        ) from error
    return logit_of(output)


def verdicts_in_chunks(model: nn.Module, inputs: Sequence[Tensor], chunk: int) -> Tensor:
    """(B,) int64 on the CPU: what the model says of each sample, `chunk` at a time; see `models.decision`."""
    with torch.no_grad():
        parts = [scores_of(model(*part)).cpu() for part in zip(*(x.split(chunk) for x in inputs), strict=True)]
    return torch.from_numpy(verdicts(torch.cat(parts).numpy()))


def logits_in_chunks(model: nn.Module, inputs: Sequence[Tensor], chunk: int) -> Tensor:
    """Raw logits (B,) without gradients, `chunk` samples at a time."""
    with torch.no_grad():
        return torch.cat([logits(model, [x[i : i + chunk] for x in inputs]) for i in range(0, len(inputs[0]), chunk)])


def end_logits(
    model: nn.Module, inputs: Sequence[Tensor], baseline: Sequence[Tensor | None], chunk: int
) -> tuple[Tensor, Tensor]:
    """f(x) and f(baseline), (B,) float64 on the CPU; inputs without a baseline pass unchanged.

    Raises:
        TrialError: a logit is not finite.
    """
    start = [x if b is None else b.to(x).expand_as(x) for x, b in zip(inputs, baseline, strict=True)]
    found = [logits_in_chunks(model, points, chunk).to("cpu", torch.float64) for points in (inputs, start)]
    if not all(bool(torch.isfinite(part).all()) for part in found):
        raise TrialError(f"{type(model).__name__} gives logits that are not finite; lower its learning rate")
    return found[0], found[1]


@contextmanager
def held_still(model: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode and no gradients for the weights; both are put back at the end, module by module.

    cuDNN computes the backward pass of a recurrent layer in training mode only: on a GPU those layers train, with dropout 0.
    Not thread safe: the model must not be used elsewhere meanwhile.
    """
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    dropouts: list[tuple[nn.RNNBase, float]] = []
    try:
        with standing_still(model):
            for parameter, _ in wanted:
                parameter.requires_grad_(False)
            for module in model.modules():
                if isinstance(module, nn.RNNBase) and any(weight.is_cuda for weight in module.parameters()):
                    dropouts.append((module, module.dropout))
                    module.dropout = 0.0
                    module.training = True
            yield model
    finally:
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)
        for recurrent, dropout in dropouts:
            recurrent.dropout = dropout
