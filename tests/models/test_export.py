"""The networks survive the legacy ONNX exporter with a dynamic batch, and torch-pruning's tracing."""

import warnings

import numpy as np
import onnxruntime
import pytest
import torch

NAMES = ("video", "audio", "video_mask", "audio_mask")
OUTPUTS = ("logit", "offset", "attention")


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"audio_head": "tcn", "frames": 4, "frame_size": 32},
        {"frame_size": 48, "frames": 3},
        {"backbone": "mobilenet_v3_small", "backbone_width": 0.25},
        {"backbone": "mobilenetv4_conv_small", "backbone_width": 0.35},
        {"backbone": "shufflenet_v2_x0_5", "backbone_width": 0.5},
    ],
)
def test_onnx_runtime_agrees_on_another_batch(small, clips, tmp_path, variant):
    model = small(**variant)
    path = tmp_path / "model.onnx"
    axes = {name: {0: "batch"} for name in (*NAMES, *OUTPUTS)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, clips(1), path, input_names=NAMES, output_names=OUTPUTS, opset_version=17, dynamo=False, dynamic_axes=axes
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    batch = clips(3, seen=6, heard=55)
    batch[2][0], batch[3][1] = True, True  # one clip without video, one without audio
    found = session.run(OUTPUTS, {name: tensor.numpy() for name, tensor in zip(NAMES, batch, strict=True)})
    with torch.no_grad():
        expected = model(*batch)
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-5)
