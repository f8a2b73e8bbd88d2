"""Models of pictures as ONNX: another batch than the traced one, and the same answers in ONNX Runtime."""

from pathlib import Path

import pytest
import torch

from paretolens.exporters.onnx import export_onnx
from paretolens.exporters.parity import check_parity
from paretolens.models.registry import build
from paretolens.models.signature import InputKind, InputSpec, Signature

CROSS = {
    "input_size": 48, "backbone_width": 0.25, "small_stage": 4, "small_patch": 1, "large_patch": 4, "small_width": 16,
    "large_width": 24, "small_layers": 1, "large_layers": 1, "depth": 1, "heads": 2, "head_dim": 8, "hidden": 32, "crossings": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ladeda", {"width": 2, "depths": [1, 1, 1, 1], "prefilter": "nearest"}),
        ("tiny-ladeda", {"top_share": 0.1}),
        ("tiny-ladeda", {"layers": 1, "field": 9, "stride": 4, "prefilter": "nearest"}),
        ("tiny-ladeda", {"layers": 3, "field": 9, "prefilter": "raw"}),
        ("cross-efficient-vit", {**CROSS, "shared": True}),
        ("cross-efficient-vit", {**CROSS, "shared": False}),
        ("cross-efficient-vit", {**CROSS, "same_padding": True, "small_stage": 8}),
        ("efficient-vit", {"input_size": 48, "backbone_width": 0.25, "patch": 2, "width": 16, "depth": 1, "hidden": 32}),
    ],
)
def test_onnx_runtime_gives_the_same_answers_for_another_batch(tmp_path: Path, name, arguments):
    torch.manual_seed(0)
    model = build(name, **arguments).eval()
    pictures = torch.randn(5, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = model(pictures)._fields
    signature = Signature(inputs=(InputSpec(name="image", shape=(3, 48, 48), kind=InputKind.IMAGE),), outputs=outputs)
    artefact = export_onnx(model, signature, (pictures[:2],), tmp_path / "model.onnx")
    parity = check_parity(model, artefact.path, [(pictures,)])
    assert parity.max_difference < 1e-4
    assert parity.decision_agreement == 1.0
