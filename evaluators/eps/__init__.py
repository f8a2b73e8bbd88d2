"""Explainability Preservation Score: does a student look where its teacher looks?"""

from paretolens.data.bootstrap import Interval, PairedDifference, clustered_interval, paired_difference
from paretolens.evaluators.eps.compare import Agreement, RankedMaps, agreement, rank_maps
from paretolens.evaluators.eps.explained import ExplainedSet
from paretolens.evaluators.eps.floor import Floor, floor
from paretolens.evaluators.eps.maps import evidence_map, signed_map, to_common_grid
from paretolens.evaluators.eps.masks import mask_iou, top_mask
from paretolens.evaluators.eps.population import eligible_samples, gate_modalities
from paretolens.evaluators.eps.proxy import ProxySettings, proxy_eps, proxy_rows
from paretolens.evaluators.eps.ranks import spearman
from paretolens.evaluators.eps.reference import TeacherReference
from paretolens.evaluators.eps.result import EpsScore, ModalityScore, SampleScores, normalised
from paretolens.evaluators.eps.score import score_eps
from paretolens.evaluators.eps.settings import BaselineKind, EpsSettings, Population

__all__ = [
    "Agreement",
    "BaselineKind",
    "EpsScore",
    "EpsSettings",
    "ExplainedSet",
    "Floor",
    "Interval",
    "ModalityScore",
    "PairedDifference",
    "Population",
    "ProxySettings",
    "RankedMaps",
    "SampleScores",
    "TeacherReference",
    "agreement",
    "clustered_interval",
    "eligible_samples",
    "evidence_map",
    "floor",
    "gate_modalities",
    "mask_iou",
    "normalised",
    "paired_difference",
    "proxy_eps",
    "proxy_rows",
    "rank_maps",
    "score_eps",
    "signed_map",
    "spearman",
    "to_common_grid",
    "top_mask",
]
