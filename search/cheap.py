"""What a student costs, known before it is trained: parameters, multiply-accumulates, size and latency of the file it would ship.

Pruning and quantisers are applied untrained, since they are what changes these figures; no data is needed. Pruned widths do not
depend on weights unless `student.prune.scope` is `model`, so only the latency differs from the final one, by its noise. Ranks do
depend on trained weights: for a genome that is factorised, the figures are upper bounds (`settled_untrained`).
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from paretolens.evaluators.cost import count_cost
from paretolens.evaluators.latency import Calibration, LatencyResult
from paretolens.exporters.onnx import export_onnx
from paretolens.exporters.probe_inputs import probe_tensors
from paretolens.models.aware import Cascade
from paretolens.search.cascade import export_stages, timed
from paretolens.search.config import Config
from paretolens.search.gate import OPEN, Gate
from paretolens.search.measuring import bench_of
from paretolens.search.placement import placed
from paretolens.spaces.knobs import Genome
from paretolens.spaces.stages import stages_of
from paretolens.trainers.prune import Importance, Scope
from paretolens.trainers.prune_steps import prune_in_steps
from paretolens.trainers.quantise import freeze, quantise, quantisers_off

__all__ = ["CHEAP", "CheapCost", "cost_of", "settled_untrained", "shapes", "student_cost", "teacher_cost"]

CHEAP = ("latency_ms", "parameters", "macs", "size_mb")
"""Metrics that are known before training."""
RUNS, WARMUP = 100, 5


@dataclass(frozen=True, kw_only=True)
class CheapCost:
    """Cost of an untrained, exported model."""

    latency_ms: float
    """As `LatencyResult.latency_ms`, from fewer runs."""
    parameters: float
    """Number of parameters."""
    macs: float
    """Multiply-accumulates of one sample."""
    size_mb: float
    """10⁶ bytes of the exported file."""
    int8_speed_up: float | None = None
    """Latency of the same student in FP32 as a multiple of this one's; below 1 where int8 is smaller but slower on the runtime
    that is timed. None for a student that ships FP32."""

    def figures(self, *, prefix: str = "", suffix: str = "") -> dict[str, float]:
        """The four that every model has, by name."""
        return {f"{prefix}{name}{suffix}": getattr(self, name) for name in CHEAP}


def student_cost(genome: Genome, config: Config, calibration: Calibration | None = None, *, gate: Gate = OPEN) -> CheapCost:
    """Cost of the student that a genome would ship.

    Args:
        genome: repaired and complete.
        config: gives family, input, pruning, quantisation and how latency is measured.
        calibration: the study's unit of time on a CPU.
        gate: of the device that is timed.

    Raises:
        UserError, TrialError: the student cannot be built, pruned, quantised, exported or run.
    """
    *_, (_, student) = shapes(genome, config)
    cost = cost_of(student, config, calibration, gate=gate)
    if "qat" not in stages_of(genome):
        return cost
    with quantisers_off(student):
        whole = cost_of(student, config, calibration, gate=gate)
    return replace(cost, int8_speed_up=whole.latency_ms / cost.latency_ms)


def shapes(genome: Genome, config: Config) -> Iterator[tuple[str, nn.Module]]:
    """The untrained student of a genome as each of its trained stages has it: the same module, changed in place between them.

    Yields:
        Stage (`head`, `distill`, `prune`, `factorise`, `align`, `qat`) and student; the last one is as it would ship.
    """
    family = config.make_family()
    signature = family.signature(config.make_model_settings())
    student = family.student(genome, signature, seed=config.seed)
    example = probe_tensors(signature)
    for stage in stages_of(genome):
        if stage == "prune":
            settings = replace(config.student.prune, ratio=float(genome["prune_ratio"]), importance=Importance.MAGNITUDE)
            prune_in_steps(student, example, settings, family.pruning_rules(student), repair=lambda: None)
        elif stage == "qat":
            quantise(student, example, placed(config.student.quantise, config.latency.backend), batches=[example])
        yield stage, student  # factorised, it is still whole: ranks depend on trained weights


def settled_untrained(genome: Genome, config: Config) -> bool:
    """Whether the untrained figures settle that a student exceeds a limit: not where trained weights choose ranks or widths."""
    stages = stages_of(genome)
    return "factorise" not in stages and not ("prune" in stages and config.student.prune.scope is Scope.MODEL)


def teacher_cost(config: Config, calibration: Calibration | None = None) -> CheapCost:
    """Cost of the teacher, which need not be trained for it."""
    return cost_of(config.make_family().teacher(config.make_model_settings(), seed=config.seed), config, calibration)


def cost_of(model: nn.Module, config: Config, calibration: Calibration | None = None, *, gate: Gate = OPEN) -> CheapCost:
    """Cost of a model with the input of the configuration's family; its quantisers are fixed as they are."""
    freeze(model)
    signature = config.make_family().signature(config.make_model_settings())
    with quantisers_off(model):
        cost = count_cost(model, probe_tensors(signature, batch=1))
    wanted = config.latency
    settings = replace(
        wanted, warmup=min(WARMUP, wanted.warmup), runs=min(RUNS, wanted.runs),
        min_runs=min(wanted.min_runs, RUNS, wanted.runs), seconds=min(1.0, wanted.seconds),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        artefact = export_onnx(model, signature, probe_tensors(signature), Path(folder) / "untrained.onnx")

        def measure(path: Path) -> LatencyResult:
            return bench_of(config.search, gate).measure(path, wanted.backend, settings, calibration)

        if isinstance(model, Cascade):  # what it passes on is not known yet: no less than its first stage
            export_stages(model, signature, probe_tensors(signature), Path(folder), share=0.0)
        latency = timed(artefact.path, measure)
    return CheapCost(
        latency_ms=latency.latency_ms,
        parameters=float(cost.parameters),
        macs=float(cost.macs),
        size_mb=artefact.size_bytes / 1e6,
    )
