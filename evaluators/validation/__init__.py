"""Does EPS measure what it says, on these models and these clips? Checks with known answers, each with what was expected."""

from paretolens.evaluators.validation.check import Check, Tick
from paretolens.evaluators.validation.controls import check_curves, check_other_samples, check_pointing
from paretolens.evaluators.validation.damage import check_dose, noisy, quantised
from paretolens.evaluators.validation.metric import check_baseline, check_completeness, check_identity, check_ties
from paretolens.evaluators.validation.randomise import Keep, check_cascade, randomised, stages_of
from paretolens.evaluators.validation.subject import Subject

__all__ = [
    "Check",
    "Keep",
    "Subject",
    "Tick",
    "check_baseline",
    "check_cascade",
    "check_completeness",
    "check_curves",
    "check_dose",
    "check_identity",
    "check_other_samples",
    "check_pointing",
    "check_ties",
    "noisy",
    "quantised",
    "randomised",
    "stages_of",
]
