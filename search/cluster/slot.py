"""The measuring slot of a cluster: one process per device kind, alone on its device, that times the artefacts of all trials.

It is a named, detached Ray actor that holds one unit of a resource such as `latency:h200`, of which the cluster must have exactly
one per kind. It runs one measurement at a time, restarts when its process or machine is lost, and ends its own process when a
measurement hangs. Trials send it the bytes of their ONNX file; nothing has to be shared.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from paretolens import __version__
from paretolens.errors import BackendError, SlotLostError, TrialError
from paretolens.evaluators.latency import Backend, Calibration, LatencyResult, LatencySettings
from paretolens.search import limits
from paretolens.search.measuring import Here

__all__ = ["NAMESPACE", "Slot", "SlotBench", "open_slot", "slot_name"]

NAMESPACE = "paretolens"
_START_S = 300.0
_ATTEMPTS = 3
_PAUSE_S = 2.0


def slot_name(resource: str) -> str:
    """Name of the slot of a resource, the same for every search of a cluster."""
    return f"slot-{resource}"


class Slot(Here):
    """What runs in the slot's process: measuring here, for callers elsewhere."""

    def __init__(self, limit_s: float) -> None:
        limits.pin_threads(1)
        self._limit_s = limit_s

    def version(self) -> str:
        """Of this package."""
        return __version__

    def measure_bytes(
        self, content: bytes, backend: Backend, settings: LatencySettings, calibration: Calibration | None
    ) -> LatencyResult:
        """Time the content of an ONNX file; a measurement that hangs ends the process, and Ray starts another."""
        with tempfile.TemporaryDirectory() as folder, limits.deadline(self._limit_s):
            path = Path(folder) / "model.onnx"
            path.write_bytes(content)
            return self.measure(path, backend, settings, calibration)


def open_slot(resource: str, *, limit_s: float, start_s: float = _START_S) -> None:
    """Make sure that the slot of a resource runs, and runs this version. Called by the driver before anything else.

    Args:
        resource: Ray resource of the device kind, one unit in the whole cluster.
        limit_s: longest time of one measurement, the building of an engine included.
        start_s: how long its start may take.

    Raises:
        BackendError: the cluster has no such resource, or something else holds it.
    """
    import ray

    total = ray.cluster_resources().get(resource, 0.0)
    if total < 1.0:
        own = ", ".join(sorted(name for name in ray.cluster_resources() if name.startswith("latency")))
        raise BackendError(
            f"search.latency_resource {resource}: no machine of the cluster has it (there is {own or 'none like it'}); "
            f"start that machine with: ray start --address=... --resources='{{\"{resource}\": 1}}'"
        )
    try:
        actor = _start(resource, limit_s)
        if ray.get(actor.version.remote(), timeout=start_s) != __version__:
            ray.kill(actor)
            actor = _start(resource, limit_s)
        ray.get(actor.version.remote(), timeout=start_s)
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:300]
        raise BackendError(
            f"the measuring slot of {resource} does not start within {start_s:g} s ({reason}); something else may hold "
            f"{resource}, or the GPU of its machine: see 'ray status'"
        ) from error


class SlotBench:
    """Measures in the slot of a resource, from any process of the cluster."""

    def __init__(self, resource: str, *, limit_s: float) -> None:
        self._resource = resource
        self._wait_s = 20 * limit_s  # others may be before us in the queue

    def device(self, backend: Backend) -> dict[str, str]:
        """The `backend` and `device` that latencies are measured with."""
        return cast(dict[str, str], self._ask(lambda slot: slot.device.remote(backend)))

    def calibrate(self) -> Calibration:
        """The unit of time of the slot's machine."""
        return cast(Calibration, self._ask(lambda slot: slot.calibrate.remote()))

    def check_calibration(self, calibration: Calibration) -> None:
        """Refuse a unit of another machine."""
        self._ask(lambda slot: slot.check_calibration.remote(calibration))

    def measure(
        self, artefact: Path, backend: Backend, settings: LatencySettings, calibration: Calibration | None
    ) -> LatencyResult:
        """Time an ONNX file.

        Raises:
            SlotLostError: the slot does not answer.
            TrialError: the slot's process ended several times while it timed this file.
        """
        content = artefact.read_bytes()
        return cast(LatencyResult, self._ask(lambda slot: slot.measure_bytes.remote(content, backend, settings, calibration)))

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        import ray

        fault = ""
        for _ in range(_ATTEMPTS):
            try:
                return ray.get(question(self._find()), timeout=self._wait_s)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error  # what the measurement itself raised
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError, ValueError) as error:
                fault = " ".join(str(error).split())[:200]
                time.sleep(_PAUSE_S)
        if self._answers():
            raise TrialError(f"timing it ended the measuring slot of {self._resource} {_ATTEMPTS} times ({fault})")
        raise SlotLostError(f"the measuring slot of {self._resource} does not answer ({fault})")

    def _find(self) -> Any:
        import ray

        return ray.get_actor(slot_name(self._resource), namespace=NAMESPACE)

    def _answers(self) -> bool:
        import ray

        try:
            return bool(ray.get(self._find().version.remote(), timeout=_START_S))
        except (ray.exceptions.RayError, ValueError):
            return False


def _start(resource: str, limit_s: float) -> Any:
    import ray

    with_gpu = any(node["Alive"] and resource in node["Resources"] and "GPU" in node["Resources"] for node in ray.nodes())
    options: dict[str, Any] = {
        "name": slot_name(resource),
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "num_gpus": 1 if with_gpu else 0,  # so that no trial is put on the GPU that is timed
        "resources": {resource: 1},
        "max_concurrency": 1,
        "max_restarts": -1,
        "max_task_retries": 0,
    }
    return ray.remote(Slot).options(**options).remote(limit_s)
