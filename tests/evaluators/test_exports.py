"""What the metric is made of is public, under one name."""

import subprocess
import sys

import pytest

import paretolens.evaluators
from paretolens.evaluators import eps, explain


def test_the_parts_of_the_metric_are_public() -> None:
    parts = {
        "spearman", "top_mask", "mask_iou", "evidence_map", "signed_map", "gate_modalities", "eligible_samples", "floor",
        "normalised", "clustered_interval", "paired_difference", "rank_maps", "agreement", "to_common_grid", "TeacherReference",
        "score_eps", "EpsSettings",
    }  # fmt: skip
    assert parts <= set(eps.__all__)
    assert {"IntegratedGradients", "GradientShap", "GradCam", "AttentionMaps", "PatchLogits"} <= set(explain.__all__)
    for module in (eps, explain):
        for name in module.__all__:
            assert getattr(paretolens.evaluators, name) is getattr(module, name)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'spearmann'"):
        _ = paretolens.evaluators.spearmann


def test_the_package_itself_loads_nothing_heavy() -> None:
    code = "import sys, paretolens.evaluators; assert 'torch' not in sys.modules and 'captum' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
