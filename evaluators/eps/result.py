"""What a score consists of, and how it is written down."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretolens.evaluators.eps.settings import EpsSettings

__all__ = ["EpsScore", "ModalityScore", "SampleScores", "normalised"]

Floats = NDArray[np.float64]


def normalised(eps: float, floor: float) -> float:
    """nEPS = clip((EPS - floor) / (1 - floor), 0, 1): 0 = as good as an untrained student, 1 = the teacher's own maps."""
    return float(min(max((eps - floor) / (1.0 - floor), 0.0), 1.0)) if floor < 1.0 else 0.0


@dataclass(frozen=True, kw_only=True)
class ModalityScore:
    """One modality, over the samples where it counts; NaN where it counts on none."""

    eps: float
    """w1·ρ + w2·J."""
    rho: float
    """Mean Spearman correlation."""
    iou: float
    """Mean IoU of the top-share masks."""
    samples: int
    """Samples it was compared on."""


def mean_over(scores: Mapping[str, ModalityScore], part: str) -> float | None:
    """Mean of ρ or J over the modalities that were compared; None where none was."""
    known = [getattr(score, part) for score in scores.values() if score.samples]
    return float(np.mean(known)) if known else None


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleScores:
    """Scores sample by sample, in the order of the explained set; NaN where a sample or modality does not count."""

    eps: Floats
    """(n,) mean over the modalities that count."""
    pixel: Floats
    """(n,) the same of the signed pixel maps."""
    rho: Floats
    """(n, M) of the evidence maps."""
    iou: Floats
    """(n, M) of the evidence maps."""
    logit: Floats
    """(n,) the student's logits."""
    groups: NDArray[np.generic]
    """(n,) source clips."""
    indices: NDArray[np.int64]
    """(n,) rows of the split."""
    grids: Mapping[str, NDArray[np.float32]]
    """(n, N) the student's evidence maps by input name, flattened; 0 where a sample was not explained."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EpsScore:
    """EPS with everything that has to stand beside it."""

    eps: float
    """The headline: mean over the eligible samples, evidence maps."""
    ci_low: float
    """Lower end of the bootstrap interval, clustered by source clip; NaN where all scored samples are of one."""
    ci_high: float
    """Upper end, or NaN."""
    floor: float | None
    """Mean EPS of re-initialised students; None where it is not known."""
    neps: float | None
    """EPS on a scale from the floor (0) to the teacher's own maps (1)."""
    modalities: Mapping[str, ModalityScore]
    """By input name."""
    pixel: float
    """The secondary score: signed maps of full resolution. NaN where the settings leave it out."""
    pixel_modalities: Mapping[str, ModalityScore]
    """The secondary score by input name."""
    agreement_explained: float
    """Share of the explained set with the teacher's verdict. Where that holds fakes alone, a model that always says "fake" gets
    1: whether a student is broken, only the agreement over clips of both classes tells."""
    logit_correlation: float
    """Pearson's r between the logits; NaN where either is constant."""
    eligible: int
    """Samples that were scored."""
    excluded: int
    """Explained samples outside of the population."""
    degenerate: int
    """Maps (sample × modality) dropped because both models' are constant."""
    unconverged: int
    """Scored samples whose completeness stayed beyond the tolerance, student."""
    teacher_unconverged: int
    """The same for the teacher."""
    samples: SampleScores
    """Sample by sample, for paired comparisons."""
    settings: EpsSettings
    """The definition that was used."""
    explainer: str
    """The explainer and its settings."""

    def metrics_beside(self, name: str = "eps_second") -> dict[str, float]:
        """The metrics of another explainer, `eps…` as `<name>…`, for a place beside those of the first."""
        return {f"{name}{key.removeprefix('eps')}": value for key, value in self.metrics().items() if key.startswith("eps")}

    def metrics(self) -> dict[str, float]:
        """Flat finite floats for a tracking store; what is not known is left out."""
        flat: dict[str, float | None] = {
            "eps": self.eps,
            "eps_low": self.ci_low,
            "eps_high": self.ci_high,
            "eps_floor": self.floor,
            "neps": self.neps,
            "eps_pixel": self.pixel,
            "agreement_explained": self.agreement_explained,
            "logit_correlation": self.logit_correlation,
            "eps_eligible": float(self.eligible),
            "eps_excluded": float(self.excluded),
            "eps_degenerate": float(self.degenerate),
            "eps_unconverged": float(self.unconverged),
            "eps_unconverged_share": self.unconverged / self.eligible if self.eligible else None,
            "eps_teacher_unconverged": float(self.teacher_unconverged),
            "eps_rho": mean_over(self.modalities, "rho"),
            "eps_iou": mean_over(self.modalities, "iou"),
        }
        for prefix, scores in (("eps_", self.modalities), ("eps_pixel_", self.pixel_modalities)):
            for name, score in scores.items():
                flat |= {f"{prefix}{name}": score.eps, f"{prefix}{name}_rho": score.rho, f"{prefix}{name}_iou": score.iou}
                flat[f"{prefix}{name}_samples"] = float(score.samples)
        return {name: value for name, value in flat.items() if value is not None and math.isfinite(value)}

    def record(self) -> dict[str, Any]:
        """The score as plain values with its definition, for JSON; per-sample values are left out."""
        return {
            "metrics": self.metrics(),
            "settings": self.settings.record(),
            "explainer": self.explainer,
            "modalities": {name: asdict(score) for name, score in self.modalities.items()},
        }
