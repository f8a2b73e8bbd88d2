"""What a trial does with a cascade beside what it does with every student: count what is passed on, time its stages."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from paretolens.data.samples import SampleSet
from paretolens.evaluators.cascade import cascade_metrics, expected_latency
from paretolens.evaluators.latency import LatencyResult
from paretolens.exporters.onnx import export_onnx
from paretolens.exporters.runner import OnnxRunner
from paretolens.models.aware import Cascade
from paretolens.models.signature import Signature, Verdict
from paretolens.search.score import BATCH

__all__ = ["passed_on", "stage_latency"]

Measure = Callable[[Path], LatencyResult]


def passed_on(path: Path, val: SampleSet) -> tuple[float, dict[str, float]]:
    """Share of the validation samples that an exported cascade's second stage sees, and all figures about it by name."""
    runner = OnnxRunner(path)
    name = val.signature.inputs[0].name
    found = [runner.run({name: val.batch(slice(at, at + BATCH))[0].numpy()}) for at in range(0, len(val), BATCH)]
    logits, stage = (np.concatenate([part[key] for part in found]) for key in ("logit", "stage"))
    metrics = cascade_metrics(val.labels, logits, stage)
    return metrics.passed_on, metrics.to_metrics()


def stage_latency(
    student: Cascade, signature: Signature, example: Sequence[Tensor], folder: Path, measure: Measure, *, share: float
) -> LatencyResult:
    """The expected latency of one sample: each stage is exported to a file of its own and timed.

    Args:
        student: as it ships.
        signature: of the whole.
        example: inputs for tracing.
        folder: takes `stage-1.onnx` and `stage-2.onnx`.
        measure: times a file.
        share: of the samples that go on; 0 gives the least that it can be, and the second stage is not timed.
    """
    alone = replace(signature, outputs=Verdict._fields)
    files = [
        export_onnx(stage, alone, example, folder / f"stage-{number}.onnx").path
        for number, stage in enumerate(student.stages(), start=1)
    ]
    first = measure(files[0])
    return expected_latency(first, measure(files[1]) if share > 0 else first, share)
