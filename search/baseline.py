"""The teacher as the baseline: exported, scored and timed by the very functions that judge students."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretolens.data.store import build_once
from paretolens.evaluators.cost import count_cost
from paretolens.evaluators.eps import score_eps
from paretolens.evaluators.latency import Calibration
from paretolens.evaluators.memory import peak_memory
from paretolens.exporters.files import write_atomic
from paretolens.exporters.onnx import export_onnx
from paretolens.exporters.parity import check_parity
from paretolens.search.gate import gate_of
from paretolens.search.measuring import bench_of
from paretolens.search.score import BATCH, score_artefact
from paretolens.search.stored import read_json
from paretolens.search.task import Task, example_of

__all__ = ["Baseline", "measure_baseline"]

PICTURED = 6
"""Clips that the pictures of the teacher beside itself are chosen from."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What students are compared with."""

    metrics: dict[str, float]
    """The same names as a trial's metrics, with `peak_memory_mb` (the model's share) and `process_memory_mb`."""
    details: dict[str, Any]
    """How latency was measured, paths, checksums."""
    folder: Path
    """`model.onnx`, `baseline.json` and `overlays/` (saliency maps of the explained set)."""


def measure_baseline(task: Task, folder: Path, calibration: Calibration) -> Baseline:
    """Export, score, time and draw the teacher; a finished measurement in `folder` is read back.

    Raises:
        BackendError: the teacher cannot be exported or run.
    """
    build_once(folder, lambda place: _measure(task, place, calibration))
    stored = read_json(folder / "baseline.json", "metrics", "details", entry=folder)
    return Baseline(metrics=stored["metrics"], details=stored["details"], folder=folder)


def _measure(task: Task, folder: Path, calibration: Calibration) -> None:
    val = task.samples["val"]
    artefact = export_onnx(task.teacher, task.signature, example_of(val), folder / "model.onnx")
    parity = check_parity(task.teacher, artefact.path, [val.batch(slice(0, BATCH))], names=val.ids)
    scores = score_artefact(artefact.path, task.samples)
    cost = count_cost(task.teacher, example_of(val, 1))
    memory = peak_memory(artefact.path)
    config = task.config
    latency = bench_of(config.search, gate_of(config, task.workspace)).measure(
        artefact.path, config.latency.backend, config.latency, calibration
    )
    metrics = {
        **scores.metrics,
        **latency.to_metrics(),
        "parameters": float(cost.parameters),
        "macs": float(cost.macs),
        "size_mb": artefact.size_bytes / 1e6,
        "peak_memory_mb": memory.model_bytes / 1e6,
        "process_memory_mb": memory.process_bytes / 1e6,
        "parity_max_difference": parity.max_difference,
        "eps": 1.0,  # by definition: the maps are compared with themselves
    }
    _draw(task, folder)
    details = {"latency": latency.to_json(), "sha256": artefact.sha256, "floor": task.floor}
    write_atomic(folder / "baseline.json", json.dumps({"metrics": metrics, "details": details}, indent=1).encode())


def _draw(task: Task, folder: Path) -> None:
    """Pictures of three clips: no figure comes of this score, so that a few clips are enough."""
    from paretolens.evaluators.overlays import write_overlays

    own = score_eps(task.teacher, task.reference, task.config.eps, floor=task.floor, limit=PICTURED)
    write_overlays(task.reference, own, folder / "overlays")
