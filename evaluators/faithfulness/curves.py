"""Deletion and insertion: what happens to a model's logit when its own evidence is taken away, or given back first?

After Petsiuk, Das and Saenko ("RISE", BMVC 2018, section 4.2), with the raw logit in place of a probability that saturates, and
the study's baseline (`eps.baseline`, by default the mean real clip) in place of what is taken away. Cells go in the order of
the evidence, the same share of every modality at once. With q the share that is gone and s the teacher's side, a curve is
s·(f(x_q) − f(b)), divided by the mean of s·(f(x) − f(b)) over the samples: from 1 to 0 on deletion, from 0 to 1 on insertion.
Areas by the trapezoidal rule: a faithful explanation has a low deletion and a high insertion area; a random order stands beside
them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretolens.evaluators.eps import ExplainedSet, TeacherReference
from paretolens.evaluators.eps.deciders import deciders
from paretolens.evaluators.eps.reference import device_of
from paretolens.evaluators.explain import held_still, logits_in_chunks, norms_folded
from paretolens.models.signature import InputKind, InputSpec

__all__ = ["SHARES", "Curves", "deletion_and_insertion", "random_grids"]

Floats = NDArray[np.float64]
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
"""Shares of the cells that are gone, denser where the evidence is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """Both curves of some samples."""

    rows: Tensor
    """(B,) of the explained set."""
    deletion: Floats
    """(B, K) s·(f − f(b)) over the shares, the strongest evidence taken away first."""
    insertion: Floats
    """(B, K) the same, the strongest evidence given back first; the share is what was given back."""

    @property
    def change(self) -> Floats:
        """(B,) s·(f(x) − f(b))."""
        return self.deletion[:, 0]

    def deletion_areas(self) -> Floats:
        """(B,), their mean is the area under the mean curve; NaN where the model does not tell the clips from the baseline."""
        return self._areas(self.deletion)

    def insertion_areas(self) -> Floats:
        """(B,), as `deletion_areas`."""
        return self._areas(self.insertion)

    def _areas(self, curve: Floats) -> Floats:
        scale = float(self.change.mean()) if len(self.change) else 0.0
        areas: Floats = np.asarray(np.trapezoid(curve, SHARES, axis=1))
        return areas / scale if scale > 0 else np.full(len(areas), np.nan)


def deletion_and_insertion(
    model: nn.Module, reference: TeacherReference, grids: Mapping[str, Tensor], rows: Tensor, *, chunk: int = 32, seed: int = 0
) -> Curves:
    """Both curves of a model on the samples `rows` (B,), its evidence maps `grids` (n, N) by input name.

    Args:
        model: put back as it was; asked on its own device.
        reference: samples, baseline, padding and the teacher's verdicts.
        grids: what gives the order; zeros come last, in an order drawn with `seed`.
        rows: of the explained set.
        chunk: points that go through the model at once.
        seed: of the order among equal cells.
    """
    if reference.classes is None:
        return _curves(model, reference, grids, rows, chunk=chunk, seed=seed)
    both = np.zeros((2, len(rows), len(SHARES)))
    for one, part in deciders(model, reference.explained, rows, chunk, reference.classes):
        found = _curves(one, reference, grids, part, chunk=chunk, seed=seed)
        both[:, torch.isin(rows, part).numpy()] = np.stack([found.deletion, found.insertion])
    return Curves(rows=rows, deletion=both[0], insertion=both[1])


def _curves(
    model: nn.Module, reference: TeacherReference, grids: Mapping[str, Tensor], rows: Tensor, *, chunk: int, seed: int
) -> Curves:
    """The same of a model with one logit."""
    explained = reference.explained
    places = {name: ranks_of(grids[name][rows], reference.grids[name].valid[rows], seed) for name in reference.modalities}
    inner, device = SHARES[1:-1], device_of(model)
    both = [explained.rows(rows, device), baseline_like(explained, rows, device)]
    with held_still(model), norms_folded(model, [x[:2] for x in both[0]]):
        full, empty = (logits_in_chunks(model, inputs, chunk).cpu().double() for inputs in both)
        found = {}
        for kind in ("deletion", "insertion"):
            start, end = both if kind == "deletion" else both[::-1]
            points = []
            for share in inner:
                gone = {name: place < share for name, place in places.items()}
                points.append(logits_in_chunks(model, mixed(reference, start, end, gone), chunk).cpu().double())
            ends = (full, empty) if kind == "deletion" else (empty, full)
            found[kind] = torch.stack([ends[0], *points, ends[1]], dim=1) - empty[:, None]
    side = reference.side[rows].double()[:, None]
    deletion, insertion = ((side * curve).numpy() for curve in (found["deletion"], found["insertion"]))
    return Curves(rows=rows, deletion=deletion, insertion=insertion)


def random_grids(reference: TeacherReference, seed: int) -> dict[str, Tensor]:
    """Maps of noise (n, N): the order that knows nothing."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(maps.values.shape, generator=generator) for name, maps in reference.grids.items()}


def ranks_of(values: Tensor, valid: Tensor, seed: int) -> Tensor:
    """(B, N) place of each valid cell in the descending order as a share in [0, 1); 1 in padding, which is never touched."""
    shuffled = torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(seed))
    order = values.masked_fill(~valid, -torch.inf)[:, shuffled].argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(order).scatter_(1, order, torch.arange(values.shape[1]).expand_as(order))
    ranked = torch.empty_like(place)
    ranked[:, shuffled] = place
    return (ranked / valid.sum(1, keepdim=True).clamp_min(1)).masked_fill(~valid, 1.0)


def baseline_like(explained: ExplainedSet, rows: Tensor, device: torch.device) -> list[Tensor]:
    """The baseline once per sample, with the sample's own padding."""
    inputs = explained.rows(rows, device)
    return [x if b is None else b.to(x).expand_as(x) for x, b in zip(inputs, explained.baseline, strict=True)]


def mixed(reference: TeacherReference, start: list[Tensor], end: list[Tensor], gone: Mapping[str, Tensor]) -> list[Tensor]:
    """Inputs `start` with the cells `gone` (B, N) taken from `end`."""
    points = []
    for spec, x, other in zip(reference.explained.signature.inputs, start, end, strict=True):
        if spec.name not in gone:
            points.append(x)
            continue
        mask = spread(gone[spec.name].view(-1, *reference.grids[spec.name].shape), spec, reference.settings.audio_pool)
        points.append(torch.where(mask.to(x.device), other, x))
    return points


def spread(cells: Tensor, spec: InputSpec, pool: int) -> Tensor:
    """Cells of a map (B, *shape) over the input that they were pooled from, broadcastable to it."""
    if spec.kind is InputKind.AUDIO:
        return cells.repeat_interleave(pool, dim=1)[:, : spec.shape[0]]
    height, width = spec.shape[-2:]
    down = torch.arange(height) * cells.shape[-2] // height
    across = torch.arange(width) * cells.shape[-1] // width
    return cells[..., down, :][..., across].unsqueeze(-3)
