"""The measuring slot of a cluster: one process per device kind, alone on its device, that times the artefacts of all trials.

It is a named, detached Ray actor that holds one unit of a resource such as `latency:h200`, of which the cluster must have exactly
one per kind. It runs one measurement at a time, restarts when its process or machine is lost, and ends its own process when
anything it is asked hangs. Trials send it the bytes of their ONNX file; nothing has to be shared. It outlives its search: the
next one asks which code it runs, and starts it anew where that is another's.
"""

import functools
import logging
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from paretolens.data.store import digest_of_json
from paretolens.errors import BackendError, SlotLostError, TrialError
from paretolens.evaluators.latency import Backend, Calibration, LatencyResult, LatencySettings
from paretolens.search import limits
from paretolens.search.measuring import Here
from paretolens.search.origin import library_versions, source_digest

__all__ = ["NAMESPACE", "Slot", "SlotBench", "open_slot", "slot_name", "slot_version"]

_logger = logging.getLogger(__name__)
NAMESPACE = "paretolens"
_START_S = 300.0
_ATTEMPTS = 3
_PAUSE_S = 2.0
_TURNS, _CHEAP_TURNS = 20, 3
"""How many limits of one measurement an answer may take, since others may be before it in the queue: while trials run, before."""
_SOURCES = ("evaluators", "exporters", "files.py", "search/limits.py", "search/measuring.py", "search/cluster/slot.py")
_LIBRARIES = ("torch", "onnx", "onnxruntime", "numpy")


def slot_name(resource: str) -> str:
    """Name of the slot of a resource, the same for every search of a cluster."""
    return f"slot-{resource}"


@functools.cache
def slot_version() -> str:
    """Digest of the code that measures in this process and of the libraries it measures with."""
    return digest_of_json({"sources": source_digest(_SOURCES), "libraries": library_versions(_LIBRARIES)})[:16]


class Slot:
    """What runs in the slot's process: measuring here, for callers elsewhere. Everything has the caller's limit of seconds; what
    takes longer ends the process, and Ray starts another.
    """

    def __init__(self) -> None:
        limits.pin_threads(1)
        self._here = Here()

    def version(self) -> str:
        """See `slot_version`."""
        return slot_version()

    def device(self, backend: Backend, limit_s: float) -> dict[str, str]:
        """See `measuring_device`."""
        with limits.deadline(limit_s):
            return self._here.device(backend)

    def calibrate(self, limit_s: float) -> Calibration:
        """The unit of time of this machine."""
        with limits.deadline(limit_s):
            return self._here.calibrate()

    def check_calibration(self, calibration: Calibration, limit_s: float) -> None:
        """Refuse a unit of another machine."""
        with limits.deadline(limit_s):
            self._here.check_calibration(calibration)

    def measure(
        self, content: bytes, backend: Backend, settings: LatencySettings, calibration: Calibration | None, limit_s: float
    ) -> LatencyResult:
        """Time the content of an ONNX file."""
        with tempfile.TemporaryDirectory() as folder, limits.deadline(limit_s):
            path = Path(folder) / "model.onnx"
            path.write_bytes(content)
            return self._here.measure(path, backend, settings, calibration)


def open_slot(resource: str, *, start_s: float = _START_S) -> None:
    """Make sure that the slot of a resource runs, and runs this code. Called by the driver before anything else.

    Args:
        resource: Ray resource of the device kind, one unit in the whole cluster.
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
        actor = _start(resource)
        found = ray.get(actor.version.remote(), timeout=start_s)
        if found != slot_version():
            _logger.warning("the measuring slot of %s was left by other code (%s); it starts anew", resource, found)
            ray.kill(actor)
            found = ray.get(_restart(resource, start_s).version.remote(), timeout=start_s)
        if found != slot_version():
            raise BackendError(
                f"the measuring slot of {resource} measures with other code or libraries than here ({found}, here "
                f"{slot_version()}): give its machine the driver's versions, and let no other search of the cluster use it"
            )
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:300]
        raise BackendError(
            f"the measuring slot of {resource} does not start within {start_s:g} s ({reason}); something else may hold "
            f"{resource}, or the GPU of its machine: see 'ray status'"
        ) from error


class SlotBench:
    """Measures in the slot of a resource, from any process of the cluster.

    Args:
        resource: whose slot.
        limit_s: longest time of one measurement, the building of an engine included.
    """

    def __init__(self, resource: str, *, limit_s: float) -> None:
        self._resource = resource
        self._limit_s = limit_s

    def device(self, backend: Backend) -> dict[str, str]:
        """The `backend` and `device` that latencies are measured with."""
        return cast(dict[str, str], self._ask(lambda slot: slot.device.remote(backend, self._limit_s)))

    def calibrate(self) -> Calibration:
        """The unit of time of the slot's machine."""
        return cast(Calibration, self._ask(lambda slot: slot.calibrate.remote(self._limit_s)))

    def check_calibration(self, calibration: Calibration) -> None:
        """Refuse a unit of another machine."""
        self._ask(lambda slot: slot.check_calibration.remote(calibration, self._limit_s))

    def measure(
        self, artefact: Path, backend: Backend, settings: LatencySettings, calibration: Calibration | None
    ) -> LatencyResult:
        """Time an ONNX file.

        Raises:
            SlotLostError: the slot does not answer.
            TrialError: the slot's process ended several times while it timed this file.
        """
        content, limit_s = artefact.read_bytes(), self._limit_s
        found = self._ask(lambda slot: slot.measure.remote(content, backend, settings, calibration, limit_s), _TURNS)
        return cast(LatencyResult, found)

    def _ask(self, question: Callable[[Any], Any], turns: int = _CHEAP_TURNS) -> Any:
        import ray

        fault = ""
        for _ in range(_ATTEMPTS):
            try:
                return self._answer(question(self._find()), turns)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error  # what the measurement itself raised
            except (ray.exceptions.RayActorError, ValueError) as error:
                fault = " ".join(str(error).split())[:200]
                if not isinstance(error, ray.exceptions.ActorUnavailableError):
                    time.sleep(_PAUSE_S)
                elif not self._answers():  # it is starting again, which on a busy machine outlasts our attempts
                    break
        if self._answers():
            raise TrialError(
                f"timing it ended the measuring slot of {self._resource} {_ATTEMPTS} times; one measurement may take "
                f"{self._limit_s:g} s ({fault})"
            )
        raise SlotLostError(f"the measuring slot of {self._resource} does not answer ({fault})")

    def _answer(self, asked: Any, turns: int) -> Any:
        """Wait for one answer, and say so on the way; a question that is given up is withdrawn.

        Raises:
            SlotLostError: none came.
        """
        import ray

        silence = f"the measuring slot of {self._resource} has not answered for"
        for turn in range(1, turns + 1):
            with suppress(ray.exceptions.GetTimeoutError):
                return ray.get(asked, timeout=self._limit_s)
            if turn < turns:
                _logger.warning("%s %.0f s; it is busy or away", silence, turn * self._limit_s)
        ray.cancel(asked)  # else it would be measured one day, for nobody
        raise SlotLostError(f"{silence} {turns * self._limit_s:g} s; mend its machine, or wait for other searches to end")

    def _find(self) -> Any:
        import ray

        return ray.get_actor(slot_name(self._resource), namespace=NAMESPACE)

    def _answers(self) -> bool:
        """Whether it comes back: a process that has just ended is called unavailable for a while."""
        import ray

        end = time.monotonic() + _START_S
        while (left := end - time.monotonic()) > 0:
            try:
                return bool(ray.get(self._find().version.remote(), timeout=left))
            except ray.exceptions.GetTimeoutError:
                return False
            except (ray.exceptions.RayError, ValueError):
                time.sleep(_PAUSE_S)
        return False


def _restart(resource: str, start_s: float) -> Any:
    """A slot that is being killed keeps its name for a moment."""
    import ray

    deadline = time.monotonic() + start_s
    while time.monotonic() < deadline:
        try:
            ray.get_actor(slot_name(resource), namespace=NAMESPACE)
        except ValueError:
            break
        time.sleep(0.1)
    return _start(resource)


def _start(resource: str) -> Any:
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
    return ray.remote(Slot).options(**options).remote()
