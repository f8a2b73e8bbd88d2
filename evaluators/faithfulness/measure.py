"""Faithfulness of one model's evidence maps: deletion, insertion and pointing, with what a study logs of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from paretolens.evaluators.eps import TeacherReference
from paretolens.evaluators.faithfulness.curves import deletion_and_insertion
from paretolens.evaluators.faithfulness.pointing import Pointing, play_pointing
from paretolens.evaluators.faithfulness.truth import Truth

__all__ = ["Faithfulness", "measure_faithfulness", "teacher_grids"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Faithfulness:
    """How right a model's explanations are, sample by sample (n,) of the explained set; NaN where a sample was not judged."""

    deletion: Floats
    """Area under the deletion curve; lower is better."""
    insertion: Floats
    """Area under the insertion curve; higher is better."""
    pointing: Mapping[str, Pointing]
    """By input name."""

    def metrics(self) -> dict[str, float]:
        """Means by name; what is not known is left out."""
        games = tuple(self.pointing.values())
        flat = {
            "deletion_auc": mean(self.deletion),
            "insertion_auc": mean(self.insertion),
            "pointing_hit": mean(np.concatenate([game.hits for game in games])),
            "pointing_chance": mean(np.concatenate([game.chance for game in games])),
            "true_mask_iou": mean(np.concatenate([game.iou for game in games])),
        }
        for name, game in self.pointing.items():
            flat |= {f"pointing_hit_{name}": mean(game.hits), f"pointing_chance_{name}": mean(game.chance)}
            flat |= {f"true_mask_iou_{name}": mean(game.iou), f"pointing_samples_{name}": float(game.samples)}
        return {name: value for name, value in flat.items() if np.isfinite(value)}


def measure_faithfulness(
    model: nn.Module,
    reference: TeacherReference,
    grids: Mapping[str, Tensor],
    truth: Truth,
    *,
    limit: int | None = None,
    chunk: int = 32,
) -> Faithfulness:
    """Judge a model by its evidence maps on the eligible samples.

    Args:
        model: put back as it was.
        reference: the samples and the teacher's verdicts.
        grids: the model's own evidence maps (n, N) by input name, as `EpsScore.samples.grids` or `teacher_grids` holds them.
        truth: true cells.
        limit: take the curves of the first so many eligible samples only.
        chunk: points that go through the model at once.
    """
    rows = reference.eligible.nonzero()[:, 0][:limit]
    curves = deletion_and_insertion(model, reference, grids, rows, chunk=chunk)
    pointing = play_pointing(reference, grids, truth)
    return Faithfulness(
        deletion=placed(curves.deletion_areas(), rows, len(reference.explained)),
        insertion=placed(curves.insertion_areas(), rows, len(reference.explained)),
        pointing=pointing,
    )


def teacher_grids(reference: TeacherReference) -> dict[str, Tensor]:
    """The teacher's own evidence maps."""
    return {name: maps.values for name, maps in reference.grids.items()}


def placed(values: Floats, rows: Tensor, count: int) -> Floats:
    """(n,) with NaN outside of the rows."""
    found = np.full(count, np.nan)
    found[rows.numpy()] = values
    return found


def mean(values: Floats) -> float:
    """Mean of what is not NaN; NaN where nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
