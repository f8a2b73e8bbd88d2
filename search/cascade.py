"""What a trial does with a cascade beside what it does with every student: count what is passed on, time its stages."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import numpy_helper
from torch import Tensor

from paretolens.data.samples import SampleSet
from paretolens.evaluators.cascade import cascade_metrics, expected_latency
from paretolens.evaluators.latency import LatencyResult
from paretolens.exporters.cascade import THRESHOLDS
from paretolens.exporters.files import write_atomic
from paretolens.exporters.graphs import constants_of
from paretolens.exporters.onnx import export_onnx, load_graph
from paretolens.models.aware import Cascade
from paretolens.models.decision import flat
from paretolens.models.signature import Signature, Verdict
from paretolens.search.score import ArtefactScore
from paretolens.search.stored import read_json

__all__ = ["Run", "export_stages", "judged", "passed_on", "timed"]

STAGES = "stages.json"

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""Inputs (B, ...) by name → outputs by name."""
Measure = Callable[[Path], LatencyResult]


def passed_on(scores: ArtefactScore, val: SampleSet) -> tuple[float, dict[str, float]]:
    """Share of the validation samples that an exported cascade's second stage sees, and all figures about it by name."""
    assert scores.stage is not None, "a cascade's file says which stage decides"
    metrics = cascade_metrics(val.labels, scores.val, scores.stage)
    return metrics.passed_on, metrics.to_metrics()


def export_stages(student: Cascade, signature: Signature, example: Sequence[Tensor], folder: Path, *, share: float) -> None:
    """Write each stage to a file of its own, and beside them the share of samples that goes on.

    Args:
        student: as it ships.
        signature: of the whole.
        example: inputs for tracing.
        folder: where the cascade's own file is; takes `stage-1.onnx`, `stage-2.onnx` and `stages.json`.
        share: 0…1; 0 where it isn't known yet, which makes the latency the least that it can be.
    """
    alone = replace(signature, outputs=Verdict._fields)
    for number, stage in enumerate(student.stages(), start=1):
        export_onnx(stage, alone, example, folder / f"stage-{number}.onnx")
    write_atomic(folder / STAGES, json.dumps({"passed_on": share}).encode())


def timed(path: Path, measure: Measure) -> LatencyResult:
    """A file's latency; of a cascade, whose stages lie beside it, the expected one of a sample: t₁ + P·t₂.

    Raises:
        IntegrityError: a file is missing or damaged.
    """
    if not (path.parent / STAGES).is_file():
        return measure(path)
    share = float(read_json(path.parent / STAGES, "passed_on", entry=path.parent)["passed_on"])
    first = measure(path.with_name("stage-1.onnx"))
    return expected_latency(first, measure(path.with_name("stage-2.onnx")) if share > 0 else first, share)


def judged(folder: Path, open_file: Callable[[Path], Run], inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Logits (N,), or scores of classes (N, K), of a trial's file; of a cascade, whose `If` not every runtime takes, of its
    stages one after the other.

    Args:
        folder: The trial's, with `model.onnx`, and the stages beside it where it is a cascade.
        open_file: Makes a file ready to run.
        inputs: (N, ...) by name.
    """
    path = folder / "model.onnx"
    if not (folder / STAGES).is_file():
        return flat(np.asarray(open_file(path)(inputs)["logit"]))
    known = constants_of(load_graph(path).graph)
    low, high = (float(numpy_helper.to_array(known[name])) for name in THRESHOLDS)
    logits: np.ndarray = np.array(flat(np.asarray(open_file(path.with_name("stage-1.onnx"))(inputs)["logit"])))
    left = (logits > low) & (logits < high)
    if left.any():
        second = open_file(path.with_name("stage-2.onnx"))({name: value[left] for name, value in inputs.items()})
        logits[left] = flat(np.asarray(second["logit"]))
    return logits
