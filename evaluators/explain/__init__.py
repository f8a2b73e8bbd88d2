"""Why a model says what it says: attributions to the elements of its inputs."""

from paretolens.evaluators.explain.attention import AttentionMaps, Depth
from paretolens.evaluators.explain.attribution import Attribution, Explainer, holding
from paretolens.evaluators.explain.fold import foldable_pairs, norms_folded
from paretolens.evaluators.explain.forward import (
    ClassLogit,
    end_logits,
    held_still,
    logit_of,
    logits,
    logits_in_chunks,
    verdicts_in_chunks,
)
from paretolens.evaluators.explain.grad_cam import GradCam, feature_layers
from paretolens.evaluators.explain.gradient_shap import GradientShap
from paretolens.evaluators.explain.integrated_gradients import IntegratedGradients
from paretolens.evaluators.explain.nodes import gauss_legendre
from paretolens.evaluators.explain.occlusion import Occlusion
from paretolens.evaluators.explain.patch_logits import PatchLogits
from paretolens.evaluators.explain.paths import Paths
from paretolens.evaluators.explain.registry import EXPLAINERS, check_explainer, make_explainer, register_explainer

__all__ = [
    "EXPLAINERS",
    "AttentionMaps",
    "Attribution",
    "ClassLogit",
    "Depth",
    "Explainer",
    "GradCam",
    "GradientShap",
    "IntegratedGradients",
    "Occlusion",
    "PatchLogits",
    "Paths",
    "check_explainer",
    "end_logits",
    "feature_layers",
    "foldable_pairs",
    "gauss_legendre",
    "held_still",
    "holding",
    "logit_of",
    "logits",
    "logits_in_chunks",
    "make_explainer",
    "norms_folded",
    "register_explainer",
    "verdicts_in_chunks",
]
