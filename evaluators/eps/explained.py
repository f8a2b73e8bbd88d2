"""The samples that are explained: chosen once per study from the validation split, the same for every candidate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paretolens.data.preprocessing import Preprocessing
from paretolens.errors import ConfigurationError, DataError
from paretolens.evaluators.eps.settings import BaselineKind, EpsSettings
from paretolens.models.signature import InputKind, InputSpec, Signature

__all__ = ["ExplainedSet", "SourceSamples", "stratified_choice"]


class SourceSamples(Protocol):
    """What is needed of a split; `paretolens.data.samples.SampleSet` has it. Arrays have one row per sample."""

    @property
    def signature(self) -> Signature:
        """Names, shapes and kinds of the inputs."""
        ...

    @property
    def labels(self) -> NDArray[np.generic]:
        """(N,), 1 = fake."""
        ...

    @property
    def groups(self) -> NDArray[np.generic]:
        """(N,) number of the source clip."""
        ...

    @property
    def kinds(self) -> Sequence[str]:
        """Kind of manipulation, or `real`."""
        ...

    @property
    def regions(self) -> NDArray[np.generic]:
        """(N, T, h, w) bool, true manipulated region."""
        ...

    def batch(self, index: NDArray[np.int64], /) -> tuple[Tensor, ...]:
        """Inputs of some samples in the signature's order."""
        ...

    def baseline(self) -> tuple[Tensor, ...]:
        """The uninformative input, (1, ...) each, in the signature's order."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class ExplainedSet:
    """n samples with everything that explaining them needs. Read-only; loaded sets are memory-mapped."""

    signature: Signature
    """The model's inputs."""
    indices: NDArray[np.int64]
    """(n,) rows of the split they were chosen from, ascending."""
    inputs: tuple[Tensor, ...]
    """(n, ...) each, in the signature's order."""
    baseline: tuple[Tensor | None, ...]
    """(1, ...) each; None for masks, which are passed through."""
    labels: NDArray[np.generic]
    """(n,), 1 = fake."""
    groups: NDArray[np.generic]
    """(n,) source clip, the unit of the bootstrap."""
    kinds: tuple[str, ...]
    """(n,) kind of manipulation."""
    regions: NDArray[np.generic] | None = None
    """(n, T, h, w) bool, where the truth is known."""
    preprocessing: Preprocessing | None = None
    """How pictures were scaled, so that they can be drawn; None = by ImageNet's figures."""

    def __post_init__(self) -> None:
        if not len(self.indices):
            raise DataError("an explained set of 0 samples has nothing to explain; give at least 1")

    def __len__(self) -> int:
        return len(self.indices)

    @staticmethod
    def choose(samples: SourceSamples, settings: EpsSettings) -> "ExplainedSet":
        """Fakes by label, as many of each kind as can be, drawn with the settings' seed; of classes without `real` all samples.

        Raises:
            DataError: the split has no fakes.
        """
        fakes = np.flatnonzero((np.asarray(samples.labels) > 0.5) | (not samples.signature.has_real))
        if not len(fakes):
            raise DataError("EPS explains fakes, and this split has none (labels are all 0); give a split with both classes")
        kinds = [samples.kinds[int(row)] for row in fakes]
        rows = fakes[stratified_choice(kinds, settings.samples, settings.seed)]
        return ExplainedSet(
            signature=samples.signature,
            indices=rows,
            inputs=samples.batch(rows),
            baseline=baseline_inputs(samples, settings.baseline),
            labels=np.asarray(samples.labels)[rows],
            groups=np.asarray(samples.groups)[rows],
            kinds=tuple(samples.kinds[int(row)] for row in rows),
            regions=np.asarray(samples.regions)[rows],
            preprocessing=getattr(samples, "preprocessing", None),
        )

    @staticmethod
    def of_tensors(
        signature: Signature,
        inputs: Sequence[Tensor],
        baseline: Sequence[Tensor | None],
        *,
        labels: NDArray[np.generic] | None = None,
        groups: NDArray[np.generic] | None = None,
    ) -> "ExplainedSet":
        """A set made of given tensors, for models outside of a study: every sample its own group, all labelled fake by default.

        Raises:
            ConfigurationError: inputs, baseline and signature do not fit together.
            DataError: there are no samples.
        """
        count = len(inputs[0]) if inputs else 0
        if len(inputs) != len(signature.inputs) or len(baseline) != len(inputs) or any(len(x) != count for x in inputs):
            raise ConfigurationError(
                f"explained inputs and baselines must follow the {len(signature.inputs)} inputs of the signature, equally long; "
                f"got {len(inputs)} inputs of {[len(x) for x in inputs]} samples and {len(baseline)} baselines"
            )
        return ExplainedSet(
            signature=signature,
            indices=np.arange(count),
            inputs=tuple(inputs),
            baseline=tuple(baseline),
            labels=np.ones(count, dtype=np.float32) if labels is None else labels,
            groups=np.arange(count) if groups is None else groups,
            kinds=("unknown",) * count,
        )

    @staticmethod
    def of_images(images: Tensor, baseline: Tensor | None = None, *, classes: tuple[str, ...] = ()) -> "ExplainedSet":
        """Pictures (n, C, H, W) as the single input `image`; the baseline (1, C, H, W) is their mean where none is given.

        With the names of classes, models give their scores (n, K), and the class that the teacher chooses is explained.

        Raises:
            ConfigurationError: these are not pictures, or the baseline is not one.
            DataError: there are no pictures.
        """
        start = images.mean(0, keepdim=True) if baseline is None else baseline
        if images.dim() != 4 or start.shape != (1, *images.shape[1:]):
            raise ConfigurationError(
                f"pictures must be (n, C, H, W) and their baseline (1, C, H, W); got {tuple(images.shape)} "
                f"and {tuple(start.shape)}"
            )
        spec = InputSpec(name="image", shape=tuple(images.shape[1:]), kind=InputKind.IMAGE)
        return ExplainedSet.of_tensors(Signature(inputs=(spec,), outputs=("logit",), classes=classes), [images], [start])

    def rows(self, index: Tensor, device: torch.device) -> list[Tensor]:
        """The inputs of some samples on a device."""
        return [x[index].to(device) for x in self.inputs]

    def ignored(self, name: str, index: Tensor | None = None) -> Tensor | None:
        """(B, T) or (B, L) bool, padding of an input, True = ignore; None where the input has no mask."""
        spec = next(spec for spec in self.signature.inputs if spec.name == name)
        if spec.mask is None:
            return None
        mask = self.inputs[[other.name for other in self.signature.inputs].index(spec.mask)]
        return mask if index is None else mask[index]


def baseline_inputs(samples: SourceSamples, kind: BaselineKind) -> tuple[Tensor | None, ...]:
    """The baseline of each input; None for masks."""
    mean = mean_real_clip(samples) if kind is BaselineKind.REAL else samples.baseline()
    chosen: list[Tensor | None] = []
    for spec, value in zip(samples.signature.inputs, mean, strict=True):
        if spec.kind is InputKind.MASK:
            chosen.append(None)
        else:
            chosen.append(torch.zeros_like(value) if kind is BaselineKind.ZERO else value)
    return tuple(chosen)


def mean_real_clip(samples: SourceSamples, batch: int = 32) -> list[Tensor]:
    """Mean over the real clips of each input (1, ...), position by position, padding left out; masks are 0.

    Raises:
        DataError: the split has no real clips.
    """
    real = np.flatnonzero((np.asarray(samples.labels) <= 0.5) & samples.signature.has_real)
    if not len(real):
        raise DataError("the baseline of EPS is the mean real clip, and this split has none; set eps.baseline to mean or zero")
    inputs = samples.signature.inputs
    total = [torch.zeros((1, *spec.shape), dtype=torch.float64) for spec in inputs]
    count = [torch.zeros((1, spec.shape[0], *[1] * (len(spec.shape) - 1)), dtype=torch.float64) for spec in inputs]
    names = [spec.name for spec in inputs]
    for start in range(0, len(real), batch):
        parts = samples.batch(real[start : start + batch])
        for place, spec in enumerate(inputs):
            if spec.kind is not InputKind.MASK:
                kept = kept_positions(spec, parts, names)
                total[place] += (parts[place] * kept).sum(dim=0, keepdim=True, dtype=torch.float64)
                count[place] += kept.sum(dim=0, keepdim=True, dtype=torch.float64)
    return [(part / number.clamp_min(1.0)).float() for part, number in zip(total, count, strict=True)]


def kept_positions(spec: InputSpec, parts: Sequence[Tensor], names: Sequence[str]) -> Tensor:
    """(B, T, 1, ...) 1 where an input is not padding."""
    shape = (len(parts[0]), spec.shape[0], *[1] * (len(spec.shape) - 1))
    return torch.ones(shape) if spec.mask is None else (~parts[names.index(spec.mask)]).float().view(shape)


def stratified_choice(strata: Sequence[str], count: int, seed: int) -> NDArray[np.int64]:
    """At most `count` positions, ascending, as evenly over the strata as their sizes allow, drawn with `seed`."""
    generator = np.random.default_rng(seed)
    queues = [list(generator.permutation(np.flatnonzero(np.asarray(strata) == name))) for name in sorted(set(strata))]
    chosen: list[int] = []
    while len(chosen) < count and any(queues):
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(int(queue.pop()))
    return np.array(sorted(chosen), dtype=np.int64)
