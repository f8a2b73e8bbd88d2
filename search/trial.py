"""One trial: genome → student → distilled → pruned → quantisation-aware → exported → scored. Runs in any process.

What ships is what is scored: accuracy, latency and size are those of the ONNX file. EPS is that of its torch twin (the same
weights with the quantisers off, since gradients through rounding do not add up), and how far twin and file agree is recorded.
"""

import json
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import nn

from paretolens.data.samples import SampleSet
from paretolens.data.store import digest_of_json
from paretolens.errors import StoreError
from paretolens.evaluators.accuracy import correct
from paretolens.evaluators.cost import count_cost
from paretolens.evaluators.eps import EpsScore, proxy_eps, proxy_rows, score_eps
from paretolens.evaluators.latency import Backend, Calibration, LatencyResult, check_calibration
from paretolens.exporters.files import write_atomic
from paretolens.exporters.onnx import OnnxArtefact, evaluating, export_onnx
from paretolens.exporters.parity import Parity, check_parity
from paretolens.mlflow.system import own_process
from paretolens.models.aware import Cascade
from paretolens.models.decision import flat, verdicts
from paretolens.models.receptive import Field
from paretolens.models.record import save_model
from paretolens.search.bounds import violations
from paretolens.search.cascade import export_stages, passed_on, timed
from paretolens.search.cheap import CHEAP, CheapCost, settled_untrained, student_cost
from paretolens.search.config import Config
from paretolens.search.curve import Curve
from paretolens.search.gate import Gate, gate_of
from paretolens.search.measuring import bench_of, measuring_device
from paretolens.search.origin import EXPLAINING, source_digest
from paretolens.search.outcome import Report, TrialFunction, TrialOutcome, genome_key
from paretolens.search.progress import Silent
from paretolens.search.score import BATCH, ArtefactScore, score_artefact
from paretolens.search.stage_cache import StageCache
from paretolens.search.stages import Training, loops_of
from paretolens.search.task import Task, example_of
from paretolens.search.workspace import Workspace
from paretolens.spaces.knobs import Genome
from paretolens.trainers.cascade import CascadeSettings, settle_cascade
from paretolens.trainers.device import moved
from paretolens.trainers.quantise import quantisers_off

__all__ = ["ARTEFACT", "MAPS", "OBJECTIVES", "Trial", "make_trial", "run_trial"]

OBJECTIVES = {"accuracy": True, "latency_ms": False, "eps": True}
"""Objective → whether more is better."""
ARTEFACT = "artefact.json"
"""What was exported and how well it agrees with the model, in the trial's folder."""
MAPS = "eps_maps.npz"
"""The student's evidence maps (n, N) by input name, in the trial's folder."""
NO_LIMITS: Mapping[str, float] = MappingProxyType({})


def make_trial(payload: Mapping[str, Any]) -> TrialFunction:
    """What a worker process calls once: open the task, return the function that runs trials.

    Args:
        payload: `config`, `calibration` and `limits` (plain values), `workspace` (path) and `study` (name).

    Raises:
        StoreError: this machine does not see the workspace.
        UserError: the task cannot be opened, this process cannot use the back end that is timed, or this machine is not the one
            the study's unit of time was taken on.
    """
    from paretolens.search import schema

    workspace = Workspace.at(Path(payload["workspace"]))
    if not workspace.study(payload["study"]).is_dir():
        raise StoreError(f"workspace {workspace.root}: not visible on {socket.gethostname()}; mount it there at the same path")
    study = workspace.study(payload["study"])
    task = Task.prepare(schema.build(Config, payload["config"]), workspace, Silent(), study=study)
    folder = study / "trials"
    calibration = Calibration.from_json(payload["calibration"])
    timed_here = task.config.search.latency_resource is None
    if timed_here and Backend(measuring_device(task.config.latency.backend)["backend"]) is Backend.ONNXRUNTIME:
        check_calibration(calibration)
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

    @cached_property
    def gate(self) -> Gate:
        """Keeps neighbours' trainings off the device while a latency is timed."""
        return gate_of(self.task.config, self.task.workspace)

    def run(self) -> TrialOutcome:
        """All stages, unless the untrained student is over a limit already."""
        with self._stage("cheap"):
            cost = student_cost(self.genome, self.task.config, self.calibration, gate=self.gate)
            self.metrics |= cost.figures(suffix="_untrained")
            self._note_int8(cost.int8_speed_up)
        exceeded = violations(self.limits, cost.figures())
        if exceeded and settled_untrained(self.genome, self.task.config):
            return self._infeasible(exceeded)
        student = self._train(cost)
        with self._stage("export"):
            artefact = self._export(student)
        with self._stage("score"):
            self._score(student, artefact)
        return self._outcome()

    def _note_int8(self, speed_up: float | None) -> None:
        """Say whether rounding pays on the runtime that is timed: it always makes a file smaller, not always faster."""
        if speed_up is not None:
            self.metrics["int8_speed_up"] = speed_up
            self.details["int8"] = "smaller and faster" if speed_up > 1 else "smaller but slower"

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.metrics[f"seconds_{name}"] = time.monotonic() - began

    def _train(self, cost: CheapCost) -> nn.Module:
        """Through all trained stages, from where the cache allows."""
        config = self.task.config
        epochs = sum(loop.epochs for loop in loops_of(self.genome, config.student).values())
        cache = StageCache(self.task.workspace.cache / "stages", config.cache) if config.cache.stages else None
        trained = Training(
            genome=self.genome,
            task=self.task,
            curve=Curve(self.report, epochs=epochs, constants=cost.figures(prefix="cheap_")),
            watch=self._watched,
            observed=self._observed(),
            cache=cache,
            gate=self.gate,
        ).run()
        self.metrics |= {f"seconds_{stage}": seconds for stage, seconds in trained.seconds.items()}
        self.metrics |= {"reused_stages": float(len(trained.reused)), "seconds_saved": trained.saved_seconds}
        warnings = [*(cache.warnings if cache else []), *_idle(trained.records.get("pruning.json"))]
        self.details |= {"reused": list(trained.reused), "warnings": warnings}
        for name, record in trained.records.items():
            self._write(name, record)
        if isinstance(trained.model, Cascade):
            self._settle(trained.model)
        self._note_saved("pruned", trained.records.get("pruning.json"))
        self._note_saved("factorised", trained.records.get("low_rank.json"))
        return trained.model

    def _settle(self, student: Cascade) -> None:
        """What a cascade needs once its stages are trained: trees, temperatures, thresholds."""
        genome, samples = self.genome, self.task.samples
        chosen = CascadeSettings(
            trust_fake=float(genome["trust_fake"]), trust_real=float(genome["trust_real"]), trees=int(genome["third_trees"])
        )
        settled = settle_cascade(student, samples["train"], samples["val"], chosen, seed=self.task.config.seed)
        self._write("cascade.json", asdict(settled))
        self.metrics["cascade_tree_agreement"] = settled.tree_agreement

    def _watched(self, student: nn.Module, report: Report) -> Report:
        """The report, with an estimate of the student's EPS after each epoch."""
        proxy, reference = self.task.config.proxy, self.task.reference
        if not proxy.clips:
            return report
        rows = proxy_rows(reference, proxy.clips)

        def watched(figures: Mapping[str, float]) -> None:
            with quantisers_off(student):
                progress = proxy_eps(student, reference, rows, nodes=proxy.nodes)
            report({**figures, "progress_eps": progress})

        return watched

    def _observed(self) -> str:
        """What the estimate depends on beside the student."""
        proxy, reference = self.task.config.proxy, self.task.reference
        plain = {"proxy": asdict(proxy), "eps": reference.settings.record(), "teacher": self.task.teacher_folder.name}
        plain["code"] = source_digest(EXPLAINING)
        return digest_of_json(plain)[:16] if proxy.clips else ""

    def _note_saved(self, what: str, done: Mapping[str, Any] | None) -> None:
        if done is not None:
            before, after = done["before"], done["after"]
            self.metrics |= {f"{what}_{name}": float(before[name] - after[name]) for name in ("parameters", "macs")}

    def _infeasible(self, exceeded: Mapping[str, float]) -> TrialOutcome:
        """The outcome of a trial that ends before training: its untrained figures stand for what was not measured."""
        self.metrics |= {name: self.metrics[f"{name}_untrained"] for name in CHEAP if name not in OBJECTIVES}
        values = {name: self.metrics[f"{name}_untrained"] for name in CHEAP if name in OBJECTIVES}
        self._write("result.json", {"genome": dict(self.genome), "metrics": self.metrics, "violations": dict(exceeded)})
        details = {"folder": str(self.folder), "limits": dict(self.limits)}
        return TrialOutcome(values=values, metrics=self.metrics, details=details, violations=exceeded)

    def _export(self, student: nn.Module) -> OnnxArtefact:
        samples = self.task.samples
        with quantisers_off(student):
            cost = count_cost(student, example_of(samples["val"], 1))
        self.metrics |= {"parameters": float(cost.parameters), "macs": float(cost.macs)}
        artefact = export_onnx(student, self.task.signature, example_of(samples["val"]), self.folder / "model.onnx")
        parity = check_parity(student, artefact.path, [samples["val"].batch(slice(0, BATCH))], names=samples["val"].ids)
        save_model(student, self.folder / "model")
        self._note_parity(artefact, parity, getattr(student, "patch_field", None))
        return artefact

    def _note_parity(self, artefact: OnnxArtefact, parity: Parity, patches: Field | None) -> None:
        self.metrics |= {
            "size_mb": artefact.size_bytes / 1e6,
            "parity_max_difference": parity.max_difference,
            "parity_decision_agreement": parity.decision_agreement,
        }
        self.details |= {"sha256": artefact.sha256, "precision": artefact.precision}
        stored = {"artefact": {**asdict(artefact), "path": artefact.path.name}, "parity": asdict(parity)}
        self._write(ARTEFACT, stored if patches is None else {**stored, "patches": asdict(patches)})

    def _score(self, student: nn.Module, artefact: OnnxArtefact) -> None:
        scores = score_artefact(artefact.path, self.task.samples)
        self.metrics |= scores.metrics
        self._note_latency(self._latency(student, artefact, scores))
        self._note_verdicts(scores.val)
        with quantisers_off(student):
            with self.gate.running(student, self.task.device, whole=True), moved(self.task.device, student):
                eps = score_eps(student, self.task.reference, self.task.config.eps, floor=self.task.floor)
                self._score_second(student)
            twin = _twin_logits(student, self.task.samples["val"])
        self._note_eps(eps)
        self.metrics["agreement"] = float(np.mean(verdicts(self.task.val_logits) == verdicts(scores.val)))
        self.metrics["twin_agreement"] = float(np.mean(verdicts(twin) == verdicts(scores.val)))
        self.metrics["twin_max_difference"] = float(np.abs(twin - scores.val).max())
        self._draw(eps)

    def _latency(self, student: nn.Module, artefact: OnnxArtefact, scores: ArtefactScore) -> LatencyResult:
        """The file's latency; of a cascade the one that is to be expected by what its first stage passes on."""
        config, bench = self.task.config.latency, bench_of(self.task.config.search, self.gate)

        def measure(path: Path) -> LatencyResult:
            return bench.measure(path, config.backend, config, self.calibration)

        if isinstance(student, Cascade):
            val = self.task.samples["val"]
            share, figures = passed_on(scores, val)
            self.metrics |= figures
            export_stages(student, self.task.signature, example_of(val), self.folder, share=share)
        return timed(artefact.path, measure)

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
        maps: dict[str, Any] = dict(eps.samples.grids)
        np.savez_compressed(self.folder / MAPS, **maps)

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


def _idle(pruning: Mapping[str, Any] | None) -> list[str]:
    """Warnings of limits on pruning that hold no layer, which may be misspelt."""
    idle = (pruning or {}).get("idle_limits", ())
    return [f"student.prune.limits: no layer fits {pattern}; pruning.json lists the paths (said once)" for pattern in idle]


def _twin_logits(model: nn.Module, samples: SampleSet) -> np.ndarray:
    with evaluating(model):
        parts = [model(*samples.batch(slice(start, start + BATCH))).logit.numpy() for start in range(0, len(samples), BATCH)]
    return flat(np.concatenate(parts))
