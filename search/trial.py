"""One trial: genome → student → distilled → pruned → quantisation-aware → exported → scored. Runs in any process.

What ships is what is scored: accuracy, latency and size are those of the ONNX file. EPS is that of its torch twin (the same
weights with the quantisers off, since gradients through rounding do not add up), and how far twin and file agree is recorded.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import nn

from paretolens.data.samples import SampleSet
from paretolens.evaluators.accuracy import correct
from paretolens.evaluators.cost import count_cost
from paretolens.evaluators.eps import EpsScore, score_eps
from paretolens.evaluators.latency import Calibration, LatencyResult, measure_latency
from paretolens.exporters.files import write_atomic
from paretolens.exporters.onnx import OnnxArtefact, evaluating, export_onnx
from paretolens.exporters.parity import Parity, check_parity
from paretolens.mlflow.system import own_process
from paretolens.models.record import save_model
from paretolens.search.bounds import violations
from paretolens.search.cheap import CHEAP, student_cost
from paretolens.search.config import Config
from paretolens.search.curve import Curve
from paretolens.search.outcome import Report, TrialFunction, TrialOutcome, genome_key
from paretolens.search.placement import placed
from paretolens.search.progress import Silent
from paretolens.search.score import BATCH, score_artefact
from paretolens.search.task import Task, example_of
from paretolens.search.workspace import Workspace
from paretolens.spaces.knobs import Genome
from paretolens.trainers.distill import DistillSettings, distill
from paretolens.trainers.loop import LoopSettings
from paretolens.trainers.prune import PruneReport, prune
from paretolens.trainers.quantise import freeze, quantise, quantisers_off

__all__ = ["ARTEFACT", "OBJECTIVES", "Trial", "make_trial", "run_trial"]

OBJECTIVES = {"accuracy": True, "latency_ms": False, "eps": True}
"""Objective → whether more is better."""
ARTEFACT = "artefact.json"
"""What was exported and how well it agrees with the model, in the trial's folder."""
NO_LIMITS: Mapping[str, float] = MappingProxyType({})
_CALIBRATION_CLIPS = 128


def make_trial(payload: Mapping[str, Any]) -> TrialFunction:
    """What a worker process calls once: open the task, return the function that runs trials.

    Args:
        payload: `config`, `calibration` and `limits` (plain values), `workspace` (path) and `study` (name).
    """
    from paretolens.search import schema

    workspace = Workspace.at(Path(payload["workspace"]))
    task = Task.prepare(schema.build(Config, payload["config"]), workspace, Silent())
    folder = workspace.study(payload["study"]) / "trials"
    calibration = Calibration.from_json(payload["calibration"])
    limits = payload["limits"]

    def trial(genome: Genome, report: Report) -> TrialOutcome:
        place = folder / genome_key(task.space.active(genome))
        return run_trial(genome, task, place, report, calibration=calibration, limits=limits)

    return trial


def run_trial(
    genome: Genome,
    task: Task,
    folder: Path,
    report: Report,
    *,
    calibration: Calibration | None = None,
    limits: Mapping[str, float] = NO_LIMITS,
) -> TrialOutcome:
    """Measure what the student of a genome costs; then, unless that is over a limit, train, export and score it.

    Args:
        genome: repaired and complete.
        task: what it is compared with.
        folder: where its artefacts go; what an earlier attempt left is replaced.
        report: called after every epoch.
        calibration: the study's unit of time on a CPU.
        limits: metric → the most that the student may cost.

    Raises:
        TrialError: a loss is not finite, a graph cannot be pruned, or twin and file disagree.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    watched = _with_process(report)
    return Trial(genome=genome, task=task, folder=folder, report=watched, calibration=calibration, limits=limits).run()


def _with_process(report: Report) -> Report:
    """Report what this process takes beside every epoch's figures."""
    return lambda metrics: report({**metrics, **own_process()})


@dataclass(kw_only=True)
class Trial:
    """The stages of one trial, in order; each leaves its figures in `metrics` and its files in `folder`."""

    genome: Genome
    task: Task
    folder: Path
    report: Report
    calibration: Calibration | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def run(self) -> TrialOutcome:
        """All stages, unless the untrained student is over a limit already."""
        config = self.task.config
        with self._stage("cheap"):
            exceeded = self._price()
        if exceeded:
            return self._infeasible(exceeded)
        student = self.task.family.student(self.genome, self.task.signature, seed=config.seed)
        with self._stage("distill"):
            self._teach(student, config.student.distill, "distill")
        if float(self.genome["prune_ratio"]) > 0:
            with self._stage("prune"):
                self._prune(student)
        if self.genome["qat"]:
            with self._stage("qat"):
                self._quantise(student)
        with self._stage("export"):
            artefact = self._export(student)
        with self._stage("score"):
            self._score(student, artefact)
        return self._outcome()

    def _price(self) -> dict[str, float]:
        """Measure the untrained student; returns the limits that it exceeds. From now on every report has the figures."""
        cost = student_cost(self.genome, self.task.config, self.calibration)
        self.metrics |= cost.figures(suffix="_untrained")
        epochs = sum(loop.epochs for loop in self._loops())
        self.report = Curve(self.report, epochs=epochs, constants=cost.figures(prefix="cheap_"))
        return violations(self.limits, cost.figures())

    def _loops(self) -> list[LoopSettings]:
        """The trained stages of this genome."""
        student = self.task.config.student
        pruned = [student.repair] if float(self.genome["prune_ratio"]) > 0 else []
        return [student.distill, *pruned, *([student.qat] if self.genome["qat"] else [])]

    def _infeasible(self, exceeded: Mapping[str, float]) -> TrialOutcome:
        """The outcome of a trial that ends before training: its untrained figures stand for what was not measured."""
        self.metrics |= {name: self.metrics[f"{name}_untrained"] for name in CHEAP if name not in OBJECTIVES}
        values = {name: self.metrics[f"{name}_untrained"] for name in CHEAP if name in OBJECTIVES}
        self._write("result.json", {"genome": dict(self.genome), "metrics": self.metrics, "violations": dict(exceeded)})
        details = {"folder": str(self.folder), "limits": dict(self.limits)}
        return TrialOutcome(values=values, metrics=self.metrics, details=details, violations=exceeded)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.metrics[f"seconds_{name}"] = time.monotonic() - began

    def _teach(self, student: nn.Module, loop: LoopSettings, stage: str) -> None:
        plain = {name: getattr(loop, name) for name in loop.__dataclass_fields__}
        settings = DistillSettings(
            **plain,
            alpha=float(self.genome["alpha"]),
            beta=float(self.genome.get("beta", 0.0)),
            temperature=float(self.genome["temperature"]),
            mirror=self.task.config.student.mirror,
        )
        samples = self.task.samples
        distill(
            student, self.task.outputs, samples["train"], samples["val"], settings,
            seed=self.task.config.seed, report=self.report, stage=stage,
        )  # fmt: skip

    def _prune(self, student: nn.Module) -> None:
        settings = replace(self.task.config.student.prune, ratio=float(self.genome["prune_ratio"]))
        rules = self.task.family.pruning_rules(student)
        done = prune(student, example_of(self.task.samples["train"]), settings, rules)
        self._note_pruning(done)
        self._teach(student, self.task.config.student.repair, "repair")

    def _note_pruning(self, done: PruneReport) -> None:
        self.metrics |= {
            "pruned_parameters": float(done.before.parameters - done.after.parameters),
            "pruned_macs": float(done.before.macs - done.after.macs),
        }
        self._write("pruning.json", asdict(done))

    def _quantise(self, student: nn.Module) -> None:
        train, config = self.task.samples["train"], self.task.config
        batches = (train.batch(slice(start, start + BATCH)) for start in range(0, min(len(train), _CALIBRATION_CLIPS), BATCH))
        done = quantise(student, example_of(train), placed(config.student.quantise, config.latency.backend), batches=batches)
        self._write("quantisation.json", asdict(done))
        self._teach(student, self.task.config.student.qat, "qat")
        freeze(student)

    def _export(self, student: nn.Module) -> OnnxArtefact:
        samples = self.task.samples
        with quantisers_off(student):
            cost = count_cost(student, example_of(samples["val"], 1))
        self.metrics |= {"parameters": float(cost.parameters), "macs": float(cost.macs)}
        artefact = export_onnx(student, self.task.signature, example_of(samples["val"]), self.folder / "model.onnx")
        parity = check_parity(student, artefact.path, [samples["val"].batch(slice(0, BATCH))])
        save_model(student, self.folder / "model")
        self._note_parity(artefact, parity)
        return artefact

    def _note_parity(self, artefact: OnnxArtefact, parity: Parity) -> None:
        self.metrics |= {
            "size_mb": artefact.size_bytes / 1e6,
            "parity_max_difference": parity.max_difference,
            "parity_decision_agreement": parity.decision_agreement,
        }
        self.details |= {"sha256": artefact.sha256, "precision": artefact.precision}
        self._write(ARTEFACT, {"artefact": {**asdict(artefact), "path": artefact.path.name}, "parity": asdict(parity)})

    def _score(self, student: nn.Module, artefact: OnnxArtefact) -> None:
        logits = score_artefact(artefact.path, self.task.samples)
        self.metrics |= logits.metrics
        config = self.task.config.latency
        latency = measure_latency(artefact.path, config.backend, config, calibration=self.calibration)
        self._note_latency(latency)
        self._note_verdicts(logits.val)
        with quantisers_off(student):
            eps = score_eps(student, self.task.reference, self.task.config.eps, floor=self.task.floor)
            twin = _twin_logits(student, self.task.samples["val"])
            self._score_second(student)
        self._note_eps(eps)
        self.metrics["twin_agreement"] = float(np.mean((twin > 0) == (logits.val > 0)))
        self.metrics["twin_max_difference"] = float(np.abs(twin - logits.val).max())
        self._draw(eps)

    def _note_latency(self, latency: LatencyResult) -> None:
        self.metrics |= latency.to_metrics()
        self.details |= {"latency": latency.to_json()}

    def _note_verdicts(self, logits: np.ndarray) -> None:
        """Which clips were judged rightly: what paired comparisons of accuracy need."""
        val = self.task.samples["val"]
        right = correct(val.labels, logits).astype(int).tolist()
        self._write("accuracy_samples.json", {"accuracy": right, "groups": val.groups.tolist(), "rows": list(range(len(right)))})

    def _note_eps(self, eps: EpsScore) -> None:
        self.metrics |= eps.metrics()
        self._write("eps.json", eps.record())
        samples = {"eps": eps.samples.eps.tolist(), "groups": eps.samples.groups.tolist(), "rows": eps.samples.indices.tolist()}
        self._write("eps_samples.json", samples)

    def _score_second(self, student: nn.Module) -> None:
        """EPS by another explainer, so that the first does not judge itself."""
        if self.task.second is not None:
            second = score_eps(student, self.task.second)
            self.metrics |= second.metrics_beside("eps_second")
            self._write("eps_second.json", second.record())

    def _draw(self, eps: EpsScore) -> None:
        from paretolens.evaluators.overlays import write_overlays

        write_overlays(self.task.reference, eps, self.folder / "overlays")

    def _outcome(self) -> TrialOutcome:
        values = {name: self.metrics[name] for name in OBJECTIVES}
        details = {**self.details, "folder": str(self.folder)}
        exceeded = violations(self.limits, self.metrics)
        outcome = TrialOutcome(values=values, metrics=self.metrics, details=details, violations=exceeded)
        self._write("result.json", {"genome": dict(self.genome), "metrics": self.metrics, "details": self.details})
        return outcome

    def _write(self, name: str, value: Any) -> None:
        text = json.dumps(value, indent=1, default=str, allow_nan=True)
        write_atomic(self.folder / name, text.encode())


def _twin_logits(model: nn.Module, samples: SampleSet) -> np.ndarray:
    with evaluating(model):
        parts = [
            model(*samples.batch(slice(start, start + BATCH))).logit.reshape(-1).numpy()
            for start in range(0, len(samples), BATCH)
        ]
    return np.concatenate(parts)
