import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError, IntegrityError, StoreError
from paretolens.exporters.onnx import OnnxArtefact, OnnxRunner, export_onnx, read_precision
from paretolens.models.signature import Detection, Signature

Batches = Callable[..., tuple[Tensor, ...]]


def named(signature: Signature, batch: tuple[Tensor, ...]) -> dict[str, np.ndarray]:
    return {spec.name: tensor.numpy() for spec, tensor in zip(signature.inputs, batch, strict=True)}


@pytest.mark.parametrize("size", [1, 2, 5])
def test_any_batch_gives_what_torch_gives(
    student: nn.Module, exported: OnnxArtefact, signature: Signature, batch_of: Batches, size: int
) -> None:
    batch = batch_of(size, seed=size)
    with torch.no_grad():
        wanted = student(*batch)
    found = OnnxRunner(exported.path).run(named(signature, batch))
    assert tuple(found) == signature.outputs
    for name in signature.outputs:
        np.testing.assert_allclose(found[name], getattr(wanted, name).numpy(), atol=1e-5)


def test_artefact_describes_the_file(exported: OnnxArtefact, signature: Signature) -> None:
    content = exported.path.read_bytes()
    proto = onnx.load(exported.path)
    props = {prop.key: prop.value for prop in proto.metadata_props}
    assert exported.size_bytes == len(content)
    assert exported.sha256 == hashlib.sha256(content).hexdigest()
    assert proto.opset_import[0].version == exported.opset == 17
    assert sum(exported.operators.values()) == len(proto.graph.node)
    assert exported.operators["Conv"] > 40
    assert exported.precision == read_precision(exported.path) == "fp32"
    assert [spec["name"] for spec in json.loads(props["signature"])["inputs"]] == [spec.name for spec in signature.inputs]
    assert props["producer"].startswith("paretolens ")


def test_export_is_deterministic_and_leaves_the_model_alone(
    student: nn.Module, exported: OnnxArtefact, signature: Signature, batch_of: Batches, tmp_path: Path
) -> None:
    student.train()
    student.get_submodule("blocks").eval()
    modes = [module.training for module in student.modules()]
    again = export_onnx(student, signature, batch_of(2), tmp_path / "again.onnx")
    assert [module.training for module in student.modules()] == modes
    student.eval()
    assert again.sha256 == exported.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["again.onnx"]


def test_quantised_weights_are_stored_as_int8(
    quantised: nn.Module, signature: Signature, batch_of: Batches, tmp_path: Path
) -> None:
    artefact = export_onnx(quantised, signature, batch_of(2), tmp_path / "int8.onnx")
    tensors = {tensor.name: tensor for tensor in onnx.load(artefact.path).graph.initializer}
    conv = [onnx.numpy_helper.to_array(tensor) for tensor in tensors.values() if list(tensor.dims) == [16, 3, 3, 3]]
    weight = quantised.get_parameter("conv.weight").detach()
    scale = weight.abs().flatten(1).amax(1).view(-1, 1, 1, 1) / 127.0
    assert artefact.folded == 2
    assert artefact.precision == "int8"
    assert [array.dtype for array in conv] == [np.int8]
    np.testing.assert_array_equal(conv[0], torch.round(weight / scale).clamp(-128, 127).to(torch.int8).numpy())
    assert artefact.operators["QuantizeLinear"] == 2  # the two activations
    assert artefact.operators["DequantizeLinear"] == 4


def test_example_must_fit(student: nn.Module, signature: Signature, batch_of: Batches, tmp_path: Path) -> None:
    video, *rest = batch_of(1)
    with pytest.raises(ConfigurationError, match=r"input video must have the shape \(batch, 4, 3, 32, 32\), got"):
        export_onnx(student, signature, (video[:, :2], *rest), tmp_path / "m.onnx")
    with pytest.raises(ConfigurationError, match=r"one tensor for each of .* got 3"):
        export_onnx(student, signature, rest, tmp_path / "m.onnx")
    with pytest.raises(ConfigurationError, match=r"opset must lie in 13–20 .* got 21"):
        export_onnx(student, signature, (video, *rest), tmp_path / "m.onnx", opset=21)
    assert list(tmp_path.iterdir()) == []


class Untraceable(nn.Module):
    def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Detection:
        logit = torch.linalg.eigvalsh(audio.transpose(1, 2) @ audio).sum(1, keepdim=True)
        return Detection(logit, logit, logit)


def test_operation_that_cannot_be_exported_is_named(signature: Signature, batch_of: Batches, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"Untraceable cannot be exported to ONNX: .*linalg_eig"):
        export_onnx(Untraceable(), signature, batch_of(1), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder(student: nn.Module, signature: Signature, batch_of: Batches, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        export_onnx(student, signature, batch_of(1), tmp_path / "file" / "m.onnx")


def test_runner_names_what_is_wrong(exported: OnnxArtefact, signature: Signature, batch_of: Batches, tmp_path: Path) -> None:
    runner = OnnxRunner(exported.path)
    inputs = named(signature, batch_of(2))
    with pytest.raises(BackendError, match=r"takes the inputs \['audio', 'audio_mask', 'video', 'video_mask'\], got \['audio'\]"):
        runner.run({"audio": inputs["audio"]})
    with pytest.raises(BackendError, match="the run failed"):
        runner.run(inputs | {"video": inputs["video"][:, :2]})
    with pytest.raises(IntegrityError, match="no such file"):
        OnnxRunner(tmp_path / "none.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(exported.path.read_bytes()[:1000])
    with pytest.raises(IntegrityError, match="not a valid ONNX file"):
        OnnxRunner(broken)
    with pytest.raises(IntegrityError, match="cannot be read as ONNX"):
        read_precision(broken)


class Stopped(KeyboardInterrupt):
    """What a handler of a signal raises."""


class Doubled(torch.autograd.Function):
    """An operation at whose export a signal comes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def symbolic(graph: Any, x: Any) -> Any:
        os.kill(os.getpid(), signal.SIGUSR1)
        return graph.op("Add", x, x)


def test_a_signal_ends_an_export_without_printing_its_graph(
    student: nn.Module,
    signature: Signature,
    batch_of: Batches,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Signalled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = student

        def forward(self, *inputs: Tensor) -> Detection:
            out = self.inner(*inputs)
            return Detection(Doubled.apply(out.logit), out.offset, out.attention)  # type: ignore[no-untyped-call]

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(Stopped):
            export_onnx(Signalled(), signature, batch_of(2), tmp_path / "model.onnx")
        assert signal.getsignal(signal.SIGUSR1) is stop
    finally:
        signal.signal(signal.SIGUSR1, before)
    said = capfd.readouterr()
    assert "graph(" not in said.out + said.err
