"""Why a model says what it says: attributions to the elements of its inputs."""

from paretolens.evaluators.explain.attribution import Attribution, Explainer
from paretolens.evaluators.explain.fold import foldable_pairs, norms_folded
from paretolens.evaluators.explain.forward import held_still, logit_of, logits, logits_in_chunks
from paretolens.evaluators.explain.integrated_gradients import IntegratedGradients, gradient_sums
from paretolens.evaluators.explain.nodes import adaptive_nodes, gauss_legendre, probe_positions

__all__ = [
    "Attribution",
    "Explainer",
    "IntegratedGradients",
    "adaptive_nodes",
    "foldable_pairs",
    "gauss_legendre",
    "gradient_sums",
    "held_still",
    "logit_of",
    "logits",
    "logits_in_chunks",
    "norms_folded",
    "probe_positions",
]
