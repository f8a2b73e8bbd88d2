"""Does the exported file compute what the torch model computes?

Measured twice: as written (ORT_DISABLE_ALL), where values must agree within the tolerance, and with the runtime's default
optimisations, where decisions (logit above 0, or the class of the largest score) are compared.

A float model agrees within 1e-4. A fake-quantised one cannot: a value that lies on a rounding edge falls to either side with the
order of a sum, and the difference of a whole step goes on through the network. Torch does not agree with itself there: with
another convolution library an untrained resnet18 student moved by .0175 (mean .0058), and its file differed by .0192 (.0060). So
for a quantised model this noise of torch's own is measured on the same samples, and the file may differ by a few times as much.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError
from paretolens.exporters.modes import evaluating, without_onednn
from paretolens.exporters.onnx import read_precision
from paretolens.exporters.runner import OnnxRunner
from paretolens.models.decision import verdicts

__all__ = ["TOLERANCE", "Parity", "check_parity"]

TOLERANCE = 1e-4
"""Largest allowed difference of a logit, absolute."""
QUANTISED_TOLERANCE = 0.02
"""The same for a quantised model in which torch's own rounding noise is smaller than that."""
NOISE_FACTOR = 4.0
JITTER = 1e-6


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Agreement of an exported file with its torch model."""

    max_difference: float
    """Largest absolute difference of a logit, graph as written."""
    mean_difference: float
    """Mean absolute difference of the logits, graph as written."""
    optimised_difference: float
    """Largest absolute difference of a logit under the runtime's default optimisations."""
    decision_agreement: float
    """Share of samples with the same verdict under the default optimisations, 0..1."""
    worst_sample: int
    """Index, over all batches in order, of the sample with `max_difference`."""
    outputs: dict[str, float]
    """Largest absolute difference of every output, graph as written."""
    samples: int
    """Number of samples compared."""
    rounding_noise: float
    """Largest difference of a logit that another order of sums makes within torch; 0 for a float model: not measured."""
    tolerance: float
    """What `max_difference` was held against: as asked for, or as far as `rounding_noise` makes possible."""


def check_parity(
    model: nn.Module, path: Path, batches: Iterable[Sequence[Tensor]], *, tolerance: float = TOLERANCE, names: Sequence[str] = ()
) -> Parity:
    """Compare every output of `model` and of the file on the same inputs.

    Args:
        model: The torch model that was exported, or its twin; run in evaluation mode, its own mode is left as it was.
        path: The ONNX file.
        batches: Input tuples in the signature's order; sizes may differ. The first sample is also run on its own, so that a
            batch size that tracing froze is noticed.
        tolerance: Largest allowed `max_difference` of a float model; a quantised one gets at least QUANTISED_TOLERANCE and four
            times its own rounding noise.
        names: Of the samples, over all batches in order; without them the worst is told by its number.

    Raises:
        BackendError: a logit differs by more than `tolerance` or is not finite; the worst sample is named.
        ConfigurationError: no batch was given.
    """
    exact, fast = OnnxRunner(path, optimise=False), OnnxRunner(path)
    quantised = read_precision(path) == "int8"
    noise = 0.0
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    worst: dict[str, float] = dict.fromkeys(exact.output_names, 0.0)
    with evaluating(model), np.errstate(invalid="ignore"):  # inf - inf is a failure that `_summary` tells
        for number, batch in enumerate(batches):
            inputs = {name: tensor.detach().cpu().numpy() for name, tensor in zip(exact.input_names, batch, strict=True)}
            wanted = [value.detach().cpu().numpy() for value in model(*batch)]
            written, optimised = exact.run(inputs), fast.run(inputs)
            noise = max(noise, _rounding_noise(model, batch, wanted[0])) if quantised else 0.0
            if number == 0:
                written = _first_alone(exact, inputs, written)
            for name, value in zip(exact.output_names, wanted, strict=True):
                worst[name] = max(worst[name], float(np.abs(value - written[name]).max(initial=0.0)))
            logit = exact.output_names[0]
            rows.append((wanted[0], written[logit], optimised[logit]))
    if not rows:
        raise ConfigurationError("parity needs at least one batch, got none: give some samples")
    if quantised:
        tolerance = max(tolerance, QUANTISED_TOLERANCE, NOISE_FACTOR * noise)
    columns = tuple(np.concatenate(column) for column in zip(*rows, strict=True))
    result = _summary(columns, outputs=worst, tolerance=tolerance, noise=noise)
    _gate(result, path, names[result.worst_sample] if names else f"sample {result.worst_sample}")
    return result


def _rounding_noise(model: nn.Module, batch: Sequence[Tensor], logits: np.ndarray) -> float:
    """Largest change of a logit when sums are taken in another order, and when inputs move by about their last digit."""
    with without_onednn():
        other = model(*batch)[0]
    generator = torch.Generator().manual_seed(0)
    moved = [
        value * (1.0 + JITTER * torch.randn(value.shape, generator=generator).to(value)) if value.is_floating_point() else value
        for value in batch
    ]
    return max(float(np.abs(found.detach().cpu().numpy() - logits).max()) for found in (other, model(*moved)[0]))


def _first_alone(runner: OnnxRunner, inputs: dict[str, np.ndarray], together: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a batch with the first row replaced by what the sample gives on its own."""
    alone = runner.run({name: value[:1] for name, value in inputs.items()})
    return {name: np.concatenate([alone[name], value[1:]]) for name, value in together.items()}


def _summary(columns: tuple[np.ndarray, ...], *, outputs: dict[str, float], tolerance: float, noise: float) -> Parity:
    wanted, written, optimised = columns
    with np.errstate(invalid="ignore"):
        difference = np.abs(wanted.astype(np.float64) - written).reshape(len(wanted), -1)
        fast = np.abs(wanted.astype(np.float64) - optimised)
    difference = np.where(np.isfinite(difference), difference, np.inf)
    return Parity(
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        optimised_difference=float(fast.max()),
        decision_agreement=float(np.mean(verdicts(wanted) == verdicts(optimised))),
        worst_sample=int(difference.max(axis=1).argmax()),
        outputs=outputs,
        samples=len(wanted),
        rounding_noise=noise,
        tolerance=tolerance,
    )


def _gate(parity: Parity, path: Path, worst: str) -> None:
    if not np.isfinite(parity.max_difference) or parity.max_difference > parity.tolerance:
        raise BackendError(
            f"the logits of {path.name} must lie within {parity.tolerance:g} of the torch model's, {worst} "
            f"differs by {parity.max_difference:.3g} (mean {parity.mean_difference:.3g} over {parity.samples} samples): "
            "export it again"
        )
