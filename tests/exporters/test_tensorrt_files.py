"""Engines on disk. Their facts are checked here; running one needs a GPU."""

import json
from pathlib import Path

import pytest

from paretolens.errors import BackendError, IntegrityError
from paretolens.exporters.onnx import OnnxArtefact
from paretolens.exporters.tensorrt import Engine, EngineSettings, build_engine
from paretolens.exporters.tensorrt_files import ANY_DEVICE, load_engine, save_engine
from paretolens.exporters.tensorrt_flavours import flavours

pytestmark = pytest.mark.skipif(not any(one.usable for one in flavours()), reason="no TensorRT is installed")


@pytest.fixture(scope="module")
def engine(exported: OnnxArtefact) -> Engine:
    return build_engine(exported.path, settings=EngineSettings(max_batch=2))


def test_an_engine_comes_back_as_it_was(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    save_engine(engine, path, device=ANY_DEVICE)
    assert load_engine(path, device="NVIDIA L4") == engine
    assert path.read_bytes() == engine.plan


def test_another_device_version_or_byte_is_refused(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    save_engine(engine, path, device="NVIDIA L4")
    with pytest.raises(BackendError, match="was built for NVIDIA L4, this device is NVIDIA T4"):
        load_engine(path, device="NVIDIA T4")
    facts = json.loads((tmp_path / "model.engine.json").read_text())
    assert facts["precision"] == "fp32"
    (tmp_path / "model.engine.json").write_text(json.dumps(facts | {"version": "0.1"}))
    with pytest.raises(BackendError, match=r"was built with tensorrt\w* 0\.1"):
        load_engine(path, device="NVIDIA L4")
    (tmp_path / "model.engine.json").write_text(json.dumps(facts))
    path.write_bytes(engine.plan[:-1] + bytes([engine.plan[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        load_engine(path, device="NVIDIA L4")
    (tmp_path / "model.engine.json").unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        load_engine(path, device="NVIDIA L4")
