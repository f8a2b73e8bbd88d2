"""What one trial's artefact takes and gets right on a device: as it is, as an engine of TensorRT, or converted for LiteRT."""

import importlib.metadata
import inspect
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import psutil

from paretolens.data.samples import SampleSet
from paretolens.data.store import build_once, digest_of_json
from paretolens.errors import BackendError, TrialError
from paretolens.evaluators.latency import Backend, LatencyResult, LatencySettings, measure_latency, probe
from paretolens.evaluators.latency.device import cpu_name
from paretolens.exporters import litert_worker
from paretolens.exporters.files import sha256_of
from paretolens.exporters.litert import CALIBRATION, export_litert, run_litert
from paretolens.exporters.litert_env import pinned_packages
from paretolens.exporters.tensorrt import EnginePrecision, EngineSettings, build_engine, load_flavour
from paretolens.exporters.tensorrt_files import save_engine
from paretolens.machine import usable_cores
from paretolens.models.decision import verdicts
from paretolens.search.cascade import judged, timed
from paretolens.search.devices import LITERT, TENSORRT
from paretolens.search.engines import engine_run, with_timing_cache
from paretolens.search.samples import prepared
from paretolens.search.score import BATCH
from paretolens.search.study import Study

__all__ = ["Ground", "at_once", "convert_ahead", "figures_of", "litert_file", "litert_key", "place_of"]


AT_ONCE = 4
"""Most conversions for LiteRT at a time; each takes a core."""
CONVERSION_BYTES = 2 * 10**9
"""About what each takes of memory."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What trials are measured on."""

    study: Study
    """The study."""
    device: str
    """One of DEVICES."""
    settings: LatencySettings
    """Threads, runs and warm-up."""
    litert: Path | None
    """Interpreter of LiteRT's environment, for the devices that need it."""

    @cached_property
    def val(self) -> SampleSet:
        """The study's validation split, opened and checked once for all of its trials."""
        return prepared(self.study.config, self.study.workspace)["val"]


def place_of(device: str) -> str:
    """This machine's processor or GPU and the runtime with its version, as a study notes it beside figures of `device`.

    Raises:
        BackendError: the runtime is missing here, or there is no GPU for it.
    """
    if device in LITERT:
        return f"{cpu_name()}, {next(pin for pin in pinned_packages() if pin.startswith('ai-edge-litert=='))}"
    if device not in TENSORRT:
        return f"{cpu_name()}, onnxruntime {importlib.metadata.version('onnxruntime')}"
    entry = probe().of(Backend.TENSORRT)
    if not entry.usable:
        raise BackendError(f"--device {device}: not usable here: {entry.reason}")
    import torch

    flavour = load_flavour()
    return f"{torch.cuda.get_device_name()}, {flavour.name} {flavour.version}"


def figures_of(ground: Ground, folder: Path) -> dict[str, float]:
    """Percentiles of the wall time of one sample in ms; accuracy too where other arithmetic than the study's judges.

    Args:
        ground: Device and study.
        folder: The trial's.

    Raises:
        BackendError: the runtime does not take the artefact.
        TrialError: the artefact is gone.
    """
    needed = folder / ("model" if ground.device in LITERT else "model.onnx")
    if not needed.exists():
        raise TrialError(f"trial {folder.name}: {needed} is gone; put it back from a copy")
    if ground.device in LITERT:
        return _on_litert(ground, folder)
    if ground.device in TENSORRT:
        return _on_tensorrt(ground, folder)
    return _percentiles(timed(folder / "model.onnx", lambda path: measure_latency(path, Backend.ONNXRUNTIME, ground.settings)))


def _percentiles(found: LatencyResult) -> dict[str, float]:
    return {"p50_ms": found.p50_ms, "p90_ms": found.p90_ms, "p99_ms": found.p99_ms}


def _on_tensorrt(ground: Ground, folder: Path) -> dict[str, float]:
    """Build an engine for one sample, time it, and let it judge the validation clips."""
    import torch

    precision = EnginePrecision(TENSORRT[ground.device])
    wanted = EngineSettings(max_batch=1, precision=precision, workspace_mb=ground.settings.tensorrt_workspace_mb)
    wanted = with_timing_cache(wanted, ground.study.workspace.cache, wanted_by=f"--device {ground.device}")
    samples = ground.val
    with tempfile.TemporaryDirectory(prefix="paretolens-engines-") as out:

        def measure(path: Path) -> LatencyResult:
            place = Path(out) / f"{path.stem}.engine"
            save_engine(build_engine(path, settings=wanted), place, device=torch.cuda.get_device_name())
            return measure_latency(place, Backend.TENSORRT, ground.settings)

        found = _percentiles(timed(folder / "model.onnx", measure))
    many = replace(wanted, opt_batch=BATCH, max_batch=BATCH)
    logits = judged(folder, lambda path: engine_run(build_engine(path, settings=many)), _inputs(samples))
    return {**found, "accuracy": _accuracy(logits, samples)}


def _on_litert(ground: Ground, folder: Path) -> dict[str, float]:
    """Convert, which is kept in the workspace's cache, judge the validation clips, and time."""
    from paretolens.search.bench import time_litert

    assert ground.litert is not None, "the command makes LiteRT's environment first"
    samples = ground.val
    path = litert_file(
        ground.litert, folder / "model", samples, ground.study.workspace.cache, precision=LITERT[ground.device]
    )  # fmt: skip
    logits = run_litert(ground.litert, path, samples.signature, _inputs(samples))[0]["logit"]
    times = time_litert(ground.litert, path, runs=ground.settings.runs, threads=ground.settings.threads)
    found = dict(zip(("p50_ms", "p90_ms", "p99_ms"), times.percentiles, strict=True))
    return {**found, "accuracy": _accuracy(logits, samples), "size_mb": path.stat().st_size / 1e6}


def convert_ahead(ground: Ground, folders: Sequence[Path], done: Callable[[int], None]) -> dict[str, str]:
    """Make the LiteRT files of trials, several at a time, so that only judging and timing is left, which goes one by one.

    Args:
        ground: A device of LiteRT, and the study.
        folders: Of the trials; those whose files are gone are passed over.
        done: Told how many are made.

    Returns:
        Why LiteRT does not take a trial, by the name of its folder.
    """
    python, samples = ground.litert, ground.val
    assert python is not None, "the command makes LiteRT's environment first"
    cache, precision, scaled = ground.study.workspace.cache, LITERT[ground.device], _inputs(samples, CALIBRATION)

    def make(folder: Path) -> str:
        try:
            litert_file(python, folder / "model", samples, cache, precision=precision, scaled=scaled)
        except BackendError as error:
            return str(error)
        return ""

    reasons = {}
    with ThreadPoolExecutor(at_once()) as pool:
        try:
            futures = {pool.submit(make, folder): folder.name for folder in folders if (folder / "model").is_dir()}
            for number, future in enumerate(as_completed(futures)):
                done(number + 1)
                if reason := future.result():
                    reasons[futures[future]] = reason
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return reasons


def at_once() -> int:
    """How many conversions for LiteRT the cores and the memory that is free now are enough for; one in any case."""
    return max(1, min(AT_ONCE, usable_cores(), psutil.virtual_memory().available // CONVERSION_BYTES))


def litert_file(
    python: Path, model: Path, samples: SampleSet, cache: Path, *, precision: str, scaled: Mapping[str, np.ndarray] | None = None
) -> Path:
    """The LiteRT file of a saved model, made unless the cache has it; a rounded one is made of the float one.

    Args:
        python: Interpreter of LiteRT's environment.
        model: Folder of `save_model`.
        samples: Those that activations are calibrated on.
        cache: Of the workspace.
        precision: Of PRECISIONS of `exporters.precisions`.
        scaled: Inputs of the first `CALIBRATION` of the samples by name, where many files are made; None = made here if needed.

    Raises:
        BackendError: LiteRT does not take the model.
    """
    place = cache / "litert-files" / litert_key(model, samples.fingerprint, precision)

    def make(out: Path) -> None:
        few = _inputs(samples, CALIBRATION) if scaled is None else scaled
        whole = None if precision == "fp32" else litert_file(python, model, samples, cache, precision="fp32", scaled=few)
        export_litert(python, model, samples.signature, few, out, precisions=[precision], whole=whole)

    build_once(place, make)
    return place / f"{precision}.tflite"


def litert_key(model: Path, clips: str, precision: str) -> str:
    """Name of a converted file by all that shapes it: weights, architecture, clips it is calibrated on, packages, converter."""
    return digest_of_json(
        {
            "files": {path.name: sha256_of(path) for path in sorted(model.iterdir())},
            "clips": [clips, CALIBRATION],
            "precision": precision,
            "packages": pinned_packages(),
            "code": inspect.getsource(litert_worker),
        }
    )[:32]


def _inputs(samples: SampleSet, most: int | None = None) -> Mapping[str, np.ndarray]:
    """The inputs of a split by name, or those of its first samples."""
    names = [spec.name for spec in samples.signature.inputs]
    batch = samples.batch(slice(0, len(samples) if most is None else min(most, len(samples))))
    return {name: tensor.numpy() for name, tensor in zip(names, batch, strict=True)}


def _accuracy(logits: np.ndarray, samples: SampleSet) -> float:
    return float(np.mean(verdicts(logits) == samples.labels))
