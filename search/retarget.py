"""A finished study's artefacts on another device or runtime: measured again, nothing trained, and the front that holds there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.errors import ConfigurationError, IntegrityError
from paretolens.evaluators.latency import Backend, LatencySettings, measure_latency
from paretolens.mlflow.amend import add_metrics
from paretolens.mlflow.front import Front
from paretolens.mlflow.objectives import Direction
from paretolens.search.cascade import timed
from paretolens.search.devices import DEVICES
from paretolens.search.finish import pull_front, trial_folder
from paretolens.search.progress import Steps
from paretolens.search.samples import prepared
from paretolens.search.study import Study

__all__ = ["Target", "retarget"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a study is measured on."""

    device: str
    """One of DEVICES."""
    threads: int = 1
    """Threads of the runtime."""
    litert: Path | None = None
    """Interpreter of LiteRT's environment, for the devices that need it."""

    @property
    def label(self) -> str:
        """Its part of a metric's name."""
        return f"{self.device.replace('-', '_')}_{self.threads}t"

    @property
    def metric(self) -> str:
        """The latency there: median wall time of one sample, ms. No study's own metric has such a name."""
        return f"on_{self.label}_p50_ms"

    @property
    def accuracy(self) -> str:
        """The accuracy of the files that run there: LiteRT's are converted anew."""
        return f"on_{self.label}_accuracy" if self.litert else "accuracy"

    @property
    def objectives(self) -> dict[str, Direction]:
        """What the new front trades off."""
        return {self.accuracy: "max", self.metric: "min", "eps": "max"}


def retarget(study: Study, target: Target, settings: LatencySettings, steps: Steps, *, again: bool = False) -> Front:
    """Measure every complete trial's artefact on a target, log it to the trial's run, and pull the front.

    Args:
        study: A study of this workspace.
        target: Device and runtime.
        settings: Runs and warm-up.
        steps: Told how far it is.
        again: Also measure trials that have figures of this target; without it a run that was stopped goes on.

    Raises:
        ConfigurationError: an unknown device.
        BackendError: the runtime is missing, or does not take an artefact (it is named).
        IntegrityError: an artefact is gone.
    """
    if target.device not in DEVICES:
        raise ConfigurationError(f"--device {target.device}: must be one of {', '.join(DEVICES)}")
    rows = pull_front(study).trials.to_dict("records")
    todo = [row for row in rows if again or not _known(row, target)]
    with steps.step(f"measuring on {target.device}") as update:
        for number, row in enumerate(todo):
            update(number, len(todo), str(row["trial"]))
            add_metrics(str(row["run_id"]), _measure(study, target, row, settings), tracking_uri=study.uri)
    return pull_front(study, target.objectives, refresh=True)


def _known(row: Mapping[Any, Any], target: Target) -> bool:
    return bool(np.isfinite(float(row.get(target.metric, np.nan))))


def _measure(study: Study, target: Target, row: Mapping[Any, Any], settings: LatencySettings) -> dict[str, float]:
    """The figures of one trial by the names they are logged under."""
    folder = trial_folder(study, row)
    if not (folder / "model.onnx").is_file():
        raise IntegrityError(f"trial {row['trial']}: {folder / 'model.onnx'} is gone; put it back from a copy")
    if target.litert is not None:
        return _on_litert(study, target, folder, settings)
    backend = Backend.TENSORRT if target.device == "tensorrt" else Backend.ONNXRUNTIME
    found = timed(folder / "model.onnx", lambda path: measure_latency(path, backend, settings))
    times = {"p50_ms": found.p50_ms, "p90_ms": found.p90_ms, "p99_ms": found.p99_ms}
    return {f"on_{target.label}_{name}": value for name, value in times.items()}


def _on_litert(study: Study, target: Target, folder: Path, settings: LatencySettings) -> dict[str, float]:
    """Convert, which is kept in the workspace's cache, judge the validation clips, and time."""
    from paretolens.data.store import build_once
    from paretolens.exporters.litert import export_litert, run_litert
    from paretolens.search.bench import time_litert

    assert target.litert is not None
    precision = {"litert": "fp32", "litert-dynamic": "dynamic", "litert-int8": "int8"}[target.device]
    samples, python = prepared(study.config, study.workspace)["val"], target.litert
    names = [spec.name for spec in samples.signature.inputs]
    batch = samples.batch(slice(0, len(samples)))
    inputs = {name: tensor.numpy() for name, tensor in zip(names, batch, strict=True)}
    place = study.workspace.cache / "litert-files" / study.name / f"{folder.name}-{precision}"
    build_once(
        place,
        lambda out: _ignore(export_litert(python, folder / "model", samples.signature, inputs, out, precisions=[precision])),
    )
    path = place / f"{precision}.tflite"
    logits = run_litert(python, path, samples.signature, inputs)[0]["logit"].reshape(-1)
    timed = time_litert(python, path, runs=settings.runs, threads=settings.threads)
    times = dict(zip(("p50_ms", "p90_ms", "p99_ms"), timed.percentiles, strict=True))
    figures = {**times, "accuracy": float(np.mean((logits > 0) == (samples.labels > 0.5))), "size_mb": path.stat().st_size / 1e6}
    return {f"on_{target.label}_{name}": value for name, value in figures.items()}


def _ignore(value: object) -> None:
    """For callbacks that give nothing back."""
