"""Quantisers stand where the timed runtime takes them, and an impossible wish is refused."""

import pytest

from paretolens.errors import ConfigurationError
from paretolens.evaluators.latency import Backend
from paretolens.search.placement import placed
from paretolens.trainers.quantise import Placement, QuantiseSettings


@pytest.mark.parametrize(("backend", "found"), [(Backend.ONNXRUNTIME, "ort-cpu"), (Backend.TENSORRT, "tensorrt")])
def test_auto_follows_the_timed_runtime(backend: Backend, found: str) -> None:
    settings = placed(QuantiseSettings(linear=False), backend)
    assert (settings.placement, settings.linear) == (found, False)


@pytest.mark.parametrize("placement", [Placement.ORT_CPU, Placement.TENSORRT])
def test_onnx_runtime_runs_both(placement: Placement) -> None:
    assert placed(QuantiseSettings(placement=placement), Backend.ONNXRUNTIME).placement is placement


def test_tensorrt_refuses_the_other_one_by_its_key() -> None:
    assert placed(QuantiseSettings(placement=Placement.TENSORRT), Backend.TENSORRT).placement is Placement.TENSORRT
    with pytest.raises(ConfigurationError, match=r"student\.quantise\.placement is ort-cpu.*auto or tensorrt"):
        placed(QuantiseSettings(placement=Placement.ORT_CPU), Backend.TENSORRT)
