from dataclasses import replace

import numpy as np
import pytest

from paretolens.errors import DataError
from paretolens.evaluators.cascade import cascade_metrics, expected_latency
from paretolens.evaluators.latency import Backend, LatencyResult

ONE = LatencyResult(
    latency_ms=2.0, clock="thread CPU time", p50_ms=2.5, p90_ms=3.0, p99_ms=4.0, cpu_min_ms=1.9, calibration_ms=None,
    reference_ms=None, runs=10, warmup=1, batch=1, threads=1, backend=Backend.ONNXRUNTIME, reason="", runtime="r", device="d",
    precision="fp32", cuda_graph=False, note="", load_average=None, context_switches=None,
)  # fmt: skip
TWO = replace(ONE, latency_ms=10.0, p50_ms=11.0, p90_ms=12.0, p99_ms=13.0, cpu_min_ms=9.5)


def test_shares_by_hand() -> None:
    labels = [1, 1, 1, 1, 0, 0]
    logits = [3.0, -2.0, 1.0, -1.0, -3.0, 2.0]
    stage = [1, 1, 2, 2, 1, 1]
    found = cascade_metrics(labels, logits, stage)
    assert (found.filtration, found.passed_on) == pytest.approx((4 / 6, 2 / 6))
    assert found.leakage == pytest.approx(1 / 4)  # of four fakes the first stage lets one go
    assert found.false_alarms == pytest.approx(1 / 2)
    assert (found.first_accuracy, found.second_accuracy) == pytest.approx((2 / 4, 1 / 2))


def test_what_is_not_there_is_no_number() -> None:
    found = cascade_metrics([1, 1], [1.0, 2.0], [2, 2])
    assert np.isnan(found.first_accuracy)
    assert found.to_metrics() == {
        "cascade_filtration": 0.0, "cascade_passed_on": 1.0, "cascade_leakage": 0.0, "cascade_second_accuracy": 1.0,
    }  # fmt: skip
    with pytest.raises(DataError, match="got 2, 2 and 1"):
        cascade_metrics([1, 1], [1.0, 2.0], [2])


def test_the_latency_is_the_expectation() -> None:
    found = expected_latency(ONE, TWO, 0.3)
    assert found.latency_ms == pytest.approx(2.0 + 0.3 * 10.0)
    assert (found.p50_ms, found.p90_ms, found.p99_ms) == (2.5, 3.0 + 12.0, 4.0 + 13.0)
    assert "30.0 %" in found.note
    assert expected_latency(ONE, TWO, 0.0).latency_ms == 2.0
    assert expected_latency(ONE, TWO, 1.0).latency_ms == 12.0
