"""The pointing game and mask overlap: does a map's evidence lie where the clip was manipulated?

Pointing game: a hit where the map's highest cell is true (Zhang et al., "Top-down neural attention by excitation backprop",
ECCV 2016, section 4.2). Meaningless alone: faces are in the middle and so are untrained maps. Quote it beside the hit rate of an
untrained model and beside chance, the mean share of true cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from paretolens.evaluators.eps import TeacherReference, mask_iou, top_mask
from paretolens.evaluators.faithfulness.truth import Truth

__all__ = ["Pointing", "play_pointing"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pointing:
    """One modality, sample by sample; NaN where the truth is unknown or the sample or modality does not count."""

    hits: Floats
    """(n,) 1 = the highest cell is true; a map without evidence misses."""
    chance: Floats
    """(n,) share of the valid cells that are true: what a random cell would hit."""
    iou: Floats
    """(n,) IoU of the top-share mask and the true cells."""

    @property
    def samples(self) -> int:
        """Samples that were judged."""
        return int((~np.isnan(self.hits)).sum())


def play_pointing(reference: TeacherReference, grids: Mapping[str, Tensor], truth: Truth) -> dict[str, Pointing]:
    """Judge evidence maps (n, N), by input name, on the eligible samples where the teacher's modality counts."""
    found: dict[str, Pointing] = {}
    for column, name in enumerate(reference.modalities):
        maps, cells, values = reference.grids[name], truth.cells[name], grids[name]
        judged = (reference.eligible & reference.counting[:, column] & truth.known[name]).numpy()
        best = values.masked_fill(~maps.valid, -1.0).argmax(dim=1, keepdim=True)
        hits = (cells.gather(1, best) & (values.gather(1, best) > 0))[:, 0]
        found[name] = Pointing(
            hits=kept(hits, judged),
            chance=kept(cells.sum(1) / maps.valid.sum(1).clamp_min(1), judged),
            iou=kept(mask_iou(top_mask(values, reference.settings.top_share, maps.valid), cells), judged),
        )
    return found


def kept(values: Tensor, judged: NDArray[np.bool_]) -> Floats:
    """float64 with NaN where nothing is judged."""
    found: Floats = np.where(judged, values.numpy().astype(np.float64), np.nan)
    return found
