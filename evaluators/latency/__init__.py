"""Latency: `measure_latency` times an artefact with TensorRT, ONNX Runtime or torch; `probe` tells what this machine can do."""

from paretolens.evaluators.latency.calibration import Calibration
from paretolens.evaluators.latency.measure import calibrate, check_calibration, measure_latency, running
from paretolens.evaluators.latency.probe import BackendProbe, Probe, probe
from paretolens.evaluators.latency.result import LatencyResult
from paretolens.evaluators.latency.settings import Backend, LatencySettings
from paretolens.evaluators.latency.timing import Clocks

__all__ = [
    "Backend",
    "BackendProbe",
    "Calibration",
    "Clocks",
    "LatencyResult",
    "LatencySettings",
    "Probe",
    "calibrate",
    "check_calibration",
    "measure_latency",
    "probe",
    "running",
]
