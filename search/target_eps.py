"""EPS of files that give no gradients: the maps of the teacher, the student's torch model and its file by occlusion, compared.

The three are explained in the same way, by forward passes alone, so that what a runtime's arithmetic does to the explanations is
measured on the file itself. The figure is no study's EPS, which is of Integrated Gradients: it is for the comparison.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from paretolens.data.samples import SampleSet
from paretolens.errors import BackendError, IntegrityError, TrialError
from paretolens.evaluators.eps import EpsScore, EpsSettings, ExplainedSet, TeacherReference, score_eps
from paretolens.evaluators.eps.compare import agreement, rank_maps
from paretolens.evaluators.eps.settings import NONE
from paretolens.exporters.file_model import FileModel
from paretolens.exporters.runner import OnnxRunner

__all__ = ["CLIPS", "EPS_TOLERANCE", "ExplainedJudge", "ExplanationParity"]

CLIPS = 16
"""Explained clips; each takes about a hundred forward passes."""
EPS_TOLERANCE = {
    "fp32": 0.01, "tf32": 0.05, "fp16": 0.05, "dynamic": 0.1, "int8": 0.15, "static-int8": 0.15, "full-int8": 0.15,
}  # fmt: skip
"""How far a file's EPS may lie from its torch model's, by precision."""


@dataclass(frozen=True, kw_only=True)
class ExplanationParity:
    """What a file's explanations are worth beside those of its torch model; all by occlusion."""

    eps: float
    """EPS of the file against the teacher, −0.5..1."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    reference: float
    """EPS of the torch model on the same clips."""
    agreement: float
    """EPS of the file against its torch model in place of the teacher; 1 = the same maps."""
    largest_change: float
    """Largest absolute change of a clip's EPS from torch to the file."""
    worst_sample: str
    """Name of that clip."""
    samples: int
    """Clips that were compared."""

    def record(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


class ExplainedJudge:
    """The clips that are explained, and the teacher's maps of them, which are computed once per workspace.

    Args:
        teacher: its ONNX file.
        samples: the validation split.
        settings: the study's definition of EPS.
        cache: where maps are kept.

    Raises:
        IntegrityError: the teacher's file is gone.
        DataError: the teacher has nothing to say about these clips.
    """

    def __init__(self, teacher: Path, samples: SampleSet, settings: EpsSettings, cache: Path) -> None:
        if not teacher.is_file():
            raise IntegrityError(f"the teacher's file {teacher} is gone; put it back from a copy")
        self.ids = samples.ids
        self.settings = replace(settings, explainer="occlusion", second=NONE, pixels=False, samples=min(CLIPS, settings.samples))
        self.names = [spec.name for spec in samples.signature.inputs]
        explained = ExplainedSet.choose(samples, self.settings)
        model = FileModel(teacher, OnnxRunner(teacher).run, self.names)
        self.reference = TeacherReference.load_or_compute(cache, model, explained, self.settings)

    def score(self, model: nn.Module, chunk: int | None = None) -> EpsScore:
        """EPS of a model by occlusion, `chunk` points at once.

        Raises:
            BackendError: its logits are not finite, or do not depend on the input.
        """
        settings = self.settings if chunk is None else replace(self.settings, chunk=chunk)
        try:
            return score_eps(model, self.reference, settings)
        except TrialError as error:
            raise BackendError(f"explanations by occlusion: {error}") from error

    def compare(self, name: str, precision: str, *, file: EpsScore, twin: EpsScore) -> ExplanationParity:
        """Hold a file's score against its torch model's.

        Raises:
            BackendError: they differ by more than `EPS_TOLERANCE`; the worst clip is named.
        """
        change = np.abs(file.samples.eps - twin.samples.eps)
        worst = int(np.nanargmax(change))
        found = ExplanationParity(
            eps=file.eps, low=file.ci_low, high=file.ci_high, reference=twin.eps,
            agreement=map_agreement(self.reference, self.settings, file, twin), largest_change=float(change[worst]),
            worst_sample=self.ids[int(self.reference.explained.indices[worst])], samples=int((~np.isnan(change)).sum()),
        )  # fmt: skip
        if not abs(found.eps - found.reference) <= EPS_TOLERANCE[precision]:
            raise BackendError(
                f"{name}: its EPS by occlusion must lie within {EPS_TOLERANCE[precision]:g} of the torch model's "
                f"{found.reference:.3f}, it is {found.eps:.3f}; clip {found.worst_sample} changes most, by "
                f"{found.largest_change:.3f}: leave this target out"
            )
        return found


def map_agreement(reference: TeacherReference, settings: EpsSettings, file: EpsScore, twin: EpsScore) -> float:
    """Mean over clips and modalities of w1·ρ + w2·IoU between the evidence of two models of one reference."""
    rows = torch.from_numpy(np.flatnonzero(~np.isnan(file.samples.eps)))
    values = []
    for column, name in enumerate(reference.modalities):
        valid = reference.grids[name].valid[rows]
        ranked = [
            rank_maps(torch.from_numpy(score.samples.grids[name])[rows], valid, settings.top_share) for score in (twin, file)
        ]
        found = agreement(*ranked)
        share = settings.rank_weight * found.rho + (1 - settings.rank_weight) * found.iou
        values.append(torch.where(reference.counting[rows, column], share, torch.nan))
    return float(torch.stack(values).nanmean())
