from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from paretolens.errors import BackendError, ConfigurationError, IntegrityError
from paretolens.exporters.onnx import OnnxArtefact
from paretolens.exporters.tensorrt import EnginePrecision, EngineSettings, build_engine, check_operators
from paretolens.exporters.tensorrt_flavours import flavours, load_flavour
from paretolens.exporters.tensorrt_runner import EngineRunner

INSTALLED = any(flavour.usable for flavour in flavours())
needs_library = pytest.mark.skipif(not INSTALLED, reason="no TensorRT is installed")


@needs_library
def test_student_builds(exported: OnnxArtefact) -> None:
    engine = build_engine(exported.path, settings=EngineSettings(opt_batch=2, max_batch=4))
    assert engine.version == load_flavour(engine.flavour).version
    assert engine.inputs == ("video", "audio", "video_mask", "audio_mask")
    assert engine.outputs == ("logit", "offset", "attention")
    assert engine.onnx_sha256 == exported.sha256
    assert len(engine.plan) > 100_000
    assert engine.layers > 100


@needs_library
def test_unsupported_operator_is_named(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    node = helper.make_node("Det", ["x"], ["y"], name="determinant")
    graph = helper.make_graph([node], "g", [value("x", TensorProto.FLOAT, ["n", 3, 3])], [value("y", TensorProto.FLOAT, ["n"])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "det.onnx")
    with pytest.raises(BackendError, match=r"does not take det\.onnx: operator Det \(node determinant\)"):
        build_engine(tmp_path / "det.onnx")


@needs_library
def test_tactics_are_kept_in_a_file(exported: OnnxArtefact, tmp_path: Path) -> None:
    settings = EngineSettings(workspace_mb=64, timing_cache=tmp_path / "cache" / "tactics")
    first = build_engine(exported.path, settings=settings)
    kept = (tmp_path / "cache" / "tactics").read_bytes()
    assert kept
    assert build_engine(exported.path, settings=settings).outputs == first.outputs
    assert first.settings == EngineSettings(workspace_mb=64)
    with pytest.raises(BackendError, match=r"timing cache .*cache: cannot be read"):
        build_engine(exported.path, settings=EngineSettings(timing_cache=tmp_path / "cache"))


@needs_library
def test_operators_are_checked_without_building(exported: OnnxArtefact, tmp_path: Path) -> None:
    check_operators(exported.path)
    with pytest.raises(IntegrityError, match="no such file"):
        check_operators(tmp_path / "none.onnx")


@needs_library
def test_damaged_file(exported: OnnxArtefact, tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(exported.path.read_bytes()[:5000])
    with pytest.raises(IntegrityError, match=r"cut\.onnx: cannot be read as ONNX"):
        build_engine(tmp_path / "cut.onnx")
    with pytest.raises(IntegrityError, match="no such file"):
        build_engine(tmp_path / "none.onnx")


@needs_library
def test_tf32_is_off_unless_asked_for(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "relu.onnx")
    plain = build_engine(tmp_path / "relu.onnx")
    assert (plain.tf32, plain.precision) == (False, "fp32")
    asked = build_engine(tmp_path / "relu.onnx", settings=EngineSettings(precision=EnginePrecision.TF32))
    assert (asked.tf32, asked.precision, asked.onnx_sha256) == (True, "tf32", plain.onnx_sha256)


def test_settings_and_names() -> None:
    with pytest.raises(ConfigurationError, match="min_batch <= opt_batch <= max_batch, got 1, 9, 8"):
        EngineSettings(opt_batch=9)
    with pytest.raises(BackendError, match="'cudnn' is not known: use tensorrt or tensorrt_rtx"):
        load_flavour("cudnn")


@pytest.mark.parametrize("flavour", [flavour.name for flavour in flavours() if not flavour.usable])
def test_a_library_that_is_missing_says_what_to_install(flavour: str) -> None:
    with pytest.raises(BackendError, match=r"pip install 'paretolens\[tensorrt"):
        load_flavour(flavour)


@needs_library
@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_running_without_a_gpu_says_so(exported: OnnxArtefact) -> None:
    with pytest.raises(BackendError, match="needs an NVIDIA GPU"):
        EngineRunner(build_engine(exported.path))


@needs_library
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_engine_computes_what_onnx_runtime_computes(exported: OnnxArtefact) -> None:
    from paretolens.exporters.onnx import OnnxRunner
    from paretolens.exporters.probe_inputs import probe_inputs

    runner = OnnxRunner(exported.path)
    inputs = probe_inputs(runner.session)
    found = EngineRunner(build_engine(exported.path)).run(inputs)
    for name, value in runner.run(inputs).items():
        assert abs(found[name] - value).max() <= 1e-4, name
