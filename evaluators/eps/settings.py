"""What a study has decided about EPS. Recorded with every score; scores are comparable only where the map settings agree."""

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from paretolens.evaluators.explain import Explainer, check_explainer, make_explainer

__all__ = ["NONE", "BaselineKind", "EpsSettings", "Population"]


NONE = "none"
"""No second explainer."""


class BaselineKind(StrEnum):
    """The input that counts as saying nothing."""

    REAL = "real"
    """Mean of the split's real clips, position by position: no traces of manipulation, and detectors call it real."""
    MEAN = "mean"
    """Mean image and mean audio coefficients of the training split, fakes among them. Traces with a fixed place survive
    the mean: a detector may call it fake, and then the path away from it does not say why a clip is fake."""
    ZERO = "zero"
    """Zero after normalisation: a plain grey-brown picture and mean coefficients."""


class Population(StrEnum):
    """Which samples enter the headline."""

    PREDICTED_FAKE = "predicted_fake"
    """Those the teacher calls fake, or of classes any but `real`, and whose logit left the baseline: their explanations say
    something."""
    ALL = "all"
    """Every sample whose logit left the baseline, on the side that the teacher chose."""


@dataclass(frozen=True, kw_only=True)
class EpsSettings:
    """Definition, precision and cost of the Explainability Preservation Score."""

    explainer: str = "integrated_gradients"
    """What explains teacher and students: a name of `paretolens.evaluators.explain.EXPLAINERS`; grad_cam:LAYER names a layer."""
    second: str = "grad_cam"
    """Another explainer that is scored beside the first, so that it does not judge itself; none = leave it out."""
    samples: Annotated[int, Ge(1)] = 128
    """Samples in the explained set."""
    rank_weight: Annotated[float, Ge(0), Le(1)] = 0.5
    """w1, weight of Spearman's rho; the top-share IoU weighs w2 = 1 - w1."""
    top_share: Annotated[float, Gt(0), Le(1)] = 0.2
    """Share of a map's valid cells that its mask holds at most."""
    video_grid: Annotated[int, Ge(1), Le(64)] = 8
    """Cells along each side of a video frame; time is kept."""
    image_grid: Annotated[int, Ge(1), Le(64)] = 16
    """Cells along each side of an image."""
    audio_pool: Annotated[int, Ge(1)] = 4
    """Audio frames averaged into one cell; coefficients are kept."""
    baseline: BaselineKind = BaselineKind.REAL
    """Where the path of Integrated Gradients starts."""
    population: Population = Population.PREDICTED_FAKE
    """Which samples are scored."""
    change_share: Annotated[float, Ge(0), Le(1)] = 0.1
    """Least |ΔF| of the teacher, as a share of the median over the population."""
    gate: Annotated[float, Ge(0), Le(1)] = 0.1
    """Least share |Σ IG of a modality| / |ΔF| of the teacher for the modality to count on a sample."""
    nodes: Annotated[int, Ge(1), Le(1024)] = 16
    """Gradients per sample: 16 in a search, 32 in a report."""
    probes: Annotated[int, Ge(0), Le(1024)] = 33
    """Most forward passes that place the nodes, of which no more are taken than nodes + 1; 0 = uniform Gauss–Legendre nodes."""
    tolerance: Annotated[float, Gt(0)] = 0.05
    """A sample is converged where |δ| ≤ tolerance · max(|ΔF|, Σ|A|)."""
    doublings: Annotated[int, Ge(0), Le(6)] = 1
    """How often the nodes and probes of an unconverged sample are doubled."""
    chunk: Annotated[int, Ge(1)] = 32
    """Points (samples × nodes) that go through a model at once."""
    pixels: bool = True
    """Also score the signed maps at full resolution."""
    resamples: Annotated[int, Ge(100)] = 2000
    """Bootstrap resamples of the confidence interval."""
    confidence: Annotated[float, Gt(0), Le(0.999)] = 0.95
    """Level of the confidence interval."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the choice of samples and of the bootstrap."""

    def __post_init__(self) -> None:
        check_explainer(self.explainer)
        if self.second != NONE:
            check_explainer(self.second)

    def make_explainer(self) -> Explainer:
        """The explainer these settings ask for."""
        return make_explainer(self.explainer, **asdict(self))

    def of_second(self) -> "EpsSettings | None":
        """The same definition with the second explainer in the first's place, without pixel maps; None where it is left out."""
        return None if self.second == NONE else replace(self, explainer=self.second, second=NONE, pixels=False)

    def record(self) -> dict[str, Any]:
        """Plain values for JSON and for the tracking store."""
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(self).items()}

    def map_record(self) -> dict[str, Any]:
        """The part that shapes the teacher's maps and the population: it must agree between a reference and a score."""
        return {name: value for name, value in self.record().items() if name in MAP_FIELDS}


MAP_FIELDS = ("top_share", "video_grid", "image_grid", "audio_pool", "baseline", "population", "change_share", "gate")
