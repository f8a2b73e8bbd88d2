from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError, IntegrityError
from paretolens.evaluators.latency import Backend, Calibration, Clocks, LatencySettings, calibrate, measure_latency, probe
from paretolens.evaluators.latency.calibration import calibration_digest, calibration_model, calibration_session
from paretolens.exporters.onnx import export_onnx
from paretolens.models.signature import InputKind, InputSpec, Signature

QUICK = LatencySettings(runs=10, warmup=1, min_runs=5)
NO_GPU = not torch.cuda.is_available()


class Tower(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Conv2d(8, 8, 3, 1, 1) for _ in range(layers)))

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.body(image).mean((1, 2, 3))[:, None],)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tower(tmp_path_factory.mktemp("towers") / "small.onnx", 1)


def tower(path: Path, layers: int) -> Path:
    signature = Signature(inputs=(InputSpec(name="image", shape=(8, 48, 48), kind=InputKind.IMAGE),), outputs=("logit",))
    return export_onnx(Tower(layers), signature, [torch.zeros(1, 8, 48, 48)], path).path


@pytest.fixture(scope="module")
def reference() -> Calibration:
    return calibrate()


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(not NO_GPU, reason="says what AUTO does without a GPU")
def test_auto_without_a_gpu_is_onnx_runtime_and_says_why(small: Path) -> None:
    result = measure_latency(small, settings=QUICK)
    assert result.backend is Backend.ONNXRUNTIME
    assert result.reason.startswith("auto: TensorRT is not usable (")
    assert result.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert (result.runs, result.warmup, result.batch, result.threads) == (10, 1, 1, 1)
    assert (result.precision, result.clock, result.cuda_graph, result.note) == ("fp32", "thread CPU time", False, "")
    assert result.device
    assert result.latency_ms > 0
    assert result.p50_ms <= result.p90_ms <= result.p99_ms
    assert result.cpu_min_ms is not None
    assert result.cpu_min_ms <= result.latency_ms
    assert result.calibration_ms is not None
    assert result.reference_ms is None
    assert set(result.to_metrics()) >= {"latency_ms", "latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "latency_runs"}
    assert result.to_json()["backend"] == "onnxruntime"


def test_more_work_takes_longer(small: Path, tmp_path: Path) -> None:
    """Forty times the work is never measured as less: an order, not a speed."""
    large = measure_latency(tower(tmp_path / "large.onnx", 40), Backend.ONNXRUNTIME, QUICK)
    assert large.latency_ms > 2 * measure_latency(small, Backend.ONNXRUNTIME, QUICK).latency_ms


def test_torch_restores_threads_and_modes(threads: None) -> None:
    torch.set_num_threads(2)
    model = Tower(2).train()
    result = measure_latency(model, settings=QUICK, example=[torch.zeros(3, 8, 48, 48)])
    assert (result.backend, result.reason) == (Backend.TORCH, "a torch module is timed with torch")
    assert result.runtime == f"torch {torch.__version__}"
    assert torch.get_num_threads() == 2
    assert model.training
    with pytest.raises(ConfigurationError, match="needs `example`"):
        measure_latency(model, Backend.TORCH, QUICK)


def test_several_threads_are_timed_by_the_wall(small: Path) -> None:
    result = measure_latency(small, Backend.ONNXRUNTIME, replace(QUICK, threads=2))
    assert result.clock == "wall time"
    assert result.cpu_min_ms is None
    assert "2 threads" in result.note


def test_reference_scales_the_latency(small: Path, reference: Calibration) -> None:
    scaled = measure_latency(
        small, settings=QUICK, calibration=replace(reference, reference_ms=1000.0), backend=Backend.ONNXRUNTIME
    )
    assert scaled.reference_ms == 1000.0
    assert scaled.calibration_ms is not None
    assert scaled.cpu_min_ms is not None
    assert scaled.latency_ms >= scaled.cpu_min_ms / scaled.calibration_ms * 1000.0
    assert Calibration.from_json(reference.to_json()) == reference
    assert (reference.runs, reference.model_sha256) == (300, calibration_digest())


def test_injected_clocks_are_the_only_time(small: Path) -> None:
    """Clocks that go on by fixed steps: the measured time is theirs."""
    ticks = {"wall": 0, "cpu": 0}

    def step(name: str, nanoseconds: int) -> int:
        ticks[name] += nanoseconds
        return ticks[name]

    clocks = Clocks(wall=lambda: step("wall", 5_000_000), cpu=lambda: step("cpu", 2_000_000))
    result = measure_latency(small, Backend.ONNXRUNTIME, QUICK, clocks=clocks)
    assert result.latency_ms == pytest.approx(2.0)
    assert result.calibration_ms == pytest.approx(2.0)
    assert result.p50_ms == result.p99_ms == pytest.approx(5.0)


@pytest.mark.parametrize("name", ["device", "runtime", "model_sha256"])
def test_reference_of_another_machine_is_refused(small: Path, reference: Calibration, name: str) -> None:
    other = replace(reference, **{name: "other"})
    with pytest.raises(ConfigurationError, match=f"must come from one machine: the {name} was other, now it is"):
        measure_latency(small, Backend.ONNXRUNTIME, QUICK, calibration=other)


def test_back_ends_that_do_not_fit(small: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="torch times a module, got the file"):
        measure_latency(small, Backend.TORCH, QUICK)
    with pytest.raises(BackendError, match="onnxruntime times an ONNX file, got a torch module"):
        measure_latency(Tower(1), Backend.ONNXRUNTIME, QUICK)
    with pytest.raises(IntegrityError, match="no such file"):
        measure_latency(tmp_path / "none.onnx", Backend.ONNXRUNTIME, QUICK)


@pytest.mark.skipif(not NO_GPU, reason="says what TensorRT needs")
def test_tensorrt_without_a_gpu_says_so(small: Path) -> None:
    with pytest.raises(BackendError, match=r"the back end tensorrt is not usable here: .*; use auto or onnxruntime"):
        measure_latency(small, Backend.TENSORRT, QUICK)


@pytest.mark.skipif(NO_GPU, reason="needs an NVIDIA GPU")
def test_gpu_is_timed_by_events(small: Path) -> None:
    found = measure_latency(small, Backend.AUTO, QUICK)
    assert found.backend is probe().auto.backend
    on_gpu = measure_latency(Tower(2).cuda(), settings=QUICK, example=[torch.zeros(1, 8, 48, 48)])
    assert on_gpu.clock == "CUDA events"
    assert on_gpu.device == torch.cuda.get_device_name()


def test_probe_tells_why() -> None:
    found = probe()
    assert [entry.backend for entry in found.backends] == [Backend.TENSORRT, Backend.ONNXRUNTIME, Backend.TORCH]
    assert found.providers == tuple(onnxruntime.get_available_providers())
    assert all(entry.reason for entry in found.backends)
    assert found.of(Backend.TORCH).versions == (f"torch {torch.__version__}",)
    assert found.auto.usable
    if NO_GPU:
        assert found.gpus == ()
        assert not found.of(Backend.TENSORRT).usable


def test_calibration_model_is_always_the_same() -> None:
    before = calibration_model()
    calibration_model.cache_clear()
    assert calibration_model() == before
    onnx.checker.check_model(onnx.load_from_string(before), full_check=True)
    (output,) = calibration_session().run(None, {"input": np.ones((1, 3, 64, 64), np.float32)})
    assert output.shape == (1, 128)
    assert np.isfinite(output).all()
    assert output.std() > 0
