import copy
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError
from paretolens.exporters.onnx import OnnxArtefact, export_onnx
from paretolens.exporters.parity import check_parity
from paretolens.models.signature import Detection, Signature

Batches = Callable[..., tuple[Tensor, ...]]


def test_float_model(student: nn.Module, exported: OnnxArtefact, batch_of: Batches) -> None:
    parity = check_parity(student, exported.path, [batch_of(3, seed=1), batch_of(1, seed=2), batch_of(4, seed=3)])
    assert parity.samples == 8
    assert parity.max_difference <= 1e-5
    assert parity.decision_agreement == 1.0
    assert set(parity.outputs) == {"logit", "offset", "attention"}
    assert parity.outputs["logit"] == pytest.approx(parity.max_difference)
    assert max(parity.outputs.values()) <= 1e-5


def test_fake_quantised_model(quantised: nn.Module, signature: Signature, batch_of: Batches, tmp_path: Path) -> None:
    artefact = export_onnx(quantised, signature, batch_of(2), tmp_path / "int8.onnx")
    parity = check_parity(quantised, artefact.path, [batch_of(8, seed=4)])
    assert parity.max_difference <= 0.02  # a rounding edge or two
    assert parity.mean_difference <= 1e-3
    assert parity.rounding_noise < 0.02
    assert parity.tolerance == pytest.approx(max(0.02, 4 * parity.rounding_noise))


def test_wrong_step_of_a_quantised_model_is_noticed(
    quantised: nn.Module, signature: Signature, batch_of: Batches, tmp_path: Path
) -> None:
    """Steps of the weights three times too large, as a wrong scale would make them."""
    artefact = export_onnx(quantised, signature, batch_of(2), tmp_path / "int8.onnx")
    proto = onnx.load(artefact.path)
    names = {tensor.name: tensor for tensor in proto.graph.initializer}
    scales = [names[node.input[1]] for node in proto.graph.node if node.op_type == "DequantizeLinear" and node.input[1] in names]
    for tensor in scales:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 3.0, tensor.name))
    onnx.save(proto, artefact.path)
    with pytest.raises(BackendError, match=r"within 0\.02 of the torch model's"):
        check_parity(quantised, artefact.path, [batch_of(8, seed=4)])


def test_the_worst_sample_is_named(student: nn.Module, exported: OnnxArtefact, batch_of: Batches) -> None:
    other = copy.deepcopy(student)
    with torch.no_grad():
        other.get_parameter("verdict.bias").add_(0.5)
    first, second = batch_of(2, seed=1), batch_of(3, seed=2)
    with torch.no_grad():
        verdict = other.get_parameter("verdict.weight")
        verdict.add_(torch.randn(verdict.shape, generator=torch.Generator().manual_seed(0)))
        difference = torch.cat([(other(*batch).logit - student(*batch).logit).abs() for batch in (first, second)])
    worst = int(difference.argmax())
    with pytest.raises(BackendError, match=rf"within 0\.0001 .* sample {worst} differs by {float(difference.max()):.3g}"):
        check_parity(other, exported.path, [first, second])
    with pytest.raises(BackendError, match=rf"torch model's, {'abcde'[worst]} differs by"):
        check_parity(other, exported.path, [first, second], names=tuple("abcde"))
    loose = check_parity(other, exported.path, [first, second], tolerance=100.0)
    assert loose.worst_sample == worst
    assert loose.max_difference == pytest.approx(float(difference.max()), abs=1e-5)


class LeaksAcrossBatch(nn.Module):
    """What one sample gets depends on its neighbours."""

    def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Detection:
        logit = (audio.mean((1, 2)) - audio.mean())[:, None]
        return Detection(logit, logit, logit)


def test_a_batch_that_matters_is_noticed(signature: Signature, batch_of: Batches, tmp_path: Path) -> None:
    artefact = export_onnx(LeaksAcrossBatch(), signature, batch_of(2), tmp_path / "m.onnx")
    with pytest.raises(BackendError, match="sample 0 differs"):
        check_parity(LeaksAcrossBatch(), artefact.path, [batch_of(3)])


def test_not_finite_is_a_failure(signature: Signature, batch_of: Batches, tmp_path: Path) -> None:
    class Infinite(nn.Module):
        def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Detection:
            logit = torch.log(audio.mean((1, 2)) * 0.0)[:, None]
            return Detection(logit, logit, logit)

    artefact = export_onnx(Infinite(), signature, batch_of(2), tmp_path / "m.onnx")
    with pytest.raises(BackendError, match="differs by inf"):
        check_parity(Infinite(), artefact.path, [batch_of(2)])


def test_no_batches(student: nn.Module, exported: OnnxArtefact) -> None:
    with pytest.raises(ConfigurationError, match="at least one batch"):
        check_parity(student, exported.path, [])
