"""The trained stages of one trial: student (→ its head taught) → distilled → pruned and repaired → factorised and repaired
→ aligned → quantisation-aware.

A trial starts from the last of them that the cache has. What was reported while those were trained is told again, so that a
curve is whole and schedulers compare like with like.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from paretolens.errors import ConfigurationError
from paretolens.search.config import StudentSettings
from paretolens.search.curve import Curve
from paretolens.search.gate import OPEN, Gate
from paretolens.search.outcome import Report
from paretolens.search.placement import placed
from paretolens.search.score import BATCH
from paretolens.search.stage_cache import StageCache, StageResult
from paretolens.search.stage_keys import stage_keys
from paretolens.search.task import Task, example_of
from paretolens.spaces.knobs import Genome
from paretolens.spaces.stages import stages_of
from paretolens.trainers.align import AlignSettings, PathAlignment
from paretolens.trainers.calibration import Calibrated
from paretolens.trainers.device import moved
from paretolens.trainers.distill import DistillationObjective, DistillSettings, distill
from paretolens.trainers.loop import Batch, LoopSettings, Objective
from paretolens.trainers.lowrank import factorise
from paretolens.trainers.patches import PatchLoss, align_patches
from paretolens.trainers.prune_steps import prune_in_steps
from paretolens.trainers.quantise import freeze, quantise

__all__ = ["Trained", "Training", "Watch", "loops_of"]

Watch = Callable[[nn.Module, Report], Report]
"""Model and report → the report with more figures about the model as it is."""
_CALIBRATION_CLIPS = 128


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What the stages left."""

    model: nn.Module
    """In evaluation mode, its quantisers fixed."""
    records: Mapping[str, Any]
    """File name → JSON value for the trial's folder."""
    seconds: Mapping[str, float]
    """What each stage took here; a reused one is left out."""
    reused: tuple[str, ...]
    """Stages that came from the cache, in order."""
    saved_seconds: float
    """What the reused ones took when they were trained."""


def loops_of(genome: Genome, student: StudentSettings) -> dict[str, LoopSettings]:
    """Stage → how it is trained, for the stages that a genome goes through, in order."""
    loops = {
        "head": student.head,
        "distill": student.distill,
        "prune": replace(student.repair, epochs=student.prune.steps * student.repair.epochs),
        "factorise": student.repair,
        "align": student.align,
        "qat": student.qat,
    }
    return {stage: loops[stage] for stage in stages_of(genome)}


class Training:
    """Trains the student of one genome.

    Args:
        genome: repaired and complete.
        task: data, teacher, settings.
        curve: takes every epoch.
        watch: adds figures to the reports of a model.
        observed: names the settings of `watch`; figures taken under others are not told again.
        cache: of trained stages; None trains everything.
        gate: of the device that is timed: training gives way to measurements.
    """

    def __init__(
        self,
        *,
        genome: Genome,
        task: Task,
        curve: Curve,
        watch: Watch,
        observed: str,
        cache: StageCache | None,
        gate: Gate = OPEN,
    ) -> None:
        self._genome = genome
        self._task = task
        self._curve = curve
        self._watch = watch
        self._observed = observed
        self._cache = cache
        self._gate = gate
        self._seconds: dict[str, float] = {}
        self._reused: list[str] = []
        self._saved = 0.0

    def run(self) -> Trained:
        """All stages.

        Raises:
            TrialError: a loss is not finite, or a graph cannot be pruned.
        """
        loops = loops_of(self._genome, self._task.config.student)
        keys = stage_keys(self._genome, self._task) if self._cache else {}
        result = self._deepest(keys)
        for stage in list(loops)[len(self._reused) :]:
            result = self._next(stage, keys.get(stage, ""), result)
        return Trained(
            model=result.model,
            records=result.records,
            seconds=self._seconds,
            reused=tuple(self._reused),
            saved_seconds=self._saved,
        )

    def _deepest(self, keys: Mapping[str, str]) -> StageResult:
        """The last stage that the cache has; else the untrained student."""
        stages = list(keys)
        for count in range(len(stages), 0, -1):
            found = self._cache.load(keys[stages[count - 1]]) if self._cache else None
            if found is not None:
                self._note_reuse(stages[:count], found, seconds=found.seconds)
                return found
        config = self._task.config
        return StageResult(
            model=self._task.family.student(self._genome, self._task.signature, seed=config.seed), observed=self._observed
        )

    def _next(self, stage: str, key: str, before: StageResult) -> StageResult:
        if self._cache is None:
            return self._train(stage, before, lambda: None)
        result, reused = self._cache.obtain(key, lambda beat: self._train(stage, before, beat))
        if reused:  # another worker finished it just now
            self._note_reuse([stage], result, seconds=result.seconds - before.seconds)
        return result

    def _note_reuse(self, stages: list[str], result: StageResult, *, seconds: float) -> None:
        """Remember which stages were not trained and what that saved, and tell their epochs."""
        self._reused += stages
        self._saved += seconds
        epochs = [dict(figures) for figures in result.epochs]
        if result.observed == self._observed:
            self._curve.replay(epochs)
            return
        known = [{name: value for name, value in figures.items() if not name.startswith("progress_")} for figures in epochs]
        self._curve.replay(known[:-1])
        self._watch(result.model, self._curve)(known[-1])

    def _train(self, stage: str, before: StageResult, beat: Callable[[], None]) -> StageResult:
        began = time.monotonic()
        model, watched = before.model, self._watch(before.model, self._curve)

        def report(figures: Mapping[str, float]) -> None:
            beat()
            watched(figures)

        steps = {
            "head": self._head, "distill": self._distill, "prune": self._prune, "factorise": self._factorise,
            "align": self._align, "qat": self._quantise,
        }  # fmt: skip
        written = steps[stage](model, report)
        self._seconds[stage] = time.monotonic() - began
        return StageResult(
            model=model,
            epochs=tuple(self._curve.told),
            records={**before.records, **json.loads(json.dumps(written, default=str))},
            seconds=before.seconds + self._seconds[stage],
            observed=self._observed,
        )

    def _head(self, student: nn.Module, report: Report) -> dict[str, Any]:
        self._teach(student, self._task.config.student.head, "head", report, parts=parts_of(student)[0])
        return {}

    def _distill(self, student: nn.Module, report: Report) -> dict[str, Any]:
        parts = parts_of(student)[1] if "head" in stages_of(self._genome) else ()
        self._teach(student, self._task.config.student.distill, "distill", report, parts=parts)
        return self._patch_record(student)

    def _patch_record(self, student: nn.Module) -> dict[str, Any]:
        """How the student's patches were held against the teacher's, where they were."""
        outputs = self._task.outputs
        if not float(self._genome.get("patch_weight", 0.0)):
            return {}
        alignment = align_patches(getattr(student, "patch_field", None), outputs.patch_field)
        calibration = asdict(outputs.calibration) if isinstance(outputs, Calibrated) else None
        return {"patches.json": {"alignment": alignment.name, "exact": alignment.pooling is not None, "calibration": calibration}}

    def _prune(self, student: nn.Module, report: Report) -> dict[str, Any]:
        task = self._task
        settings = replace(task.config.student.prune, ratio=float(self._genome["prune_ratio"]))
        done = prune_in_steps(
            student,
            example_of(task.samples["train"]),
            settings,
            task.family.pruning_rules(student),
            repair=lambda: self._teach(student, task.config.student.repair, "repair", report),
            loss=self._pruning_loss,
        )
        return {"pruning.json": asdict(done)}

    def _pruning_loss(self, student: nn.Module) -> Tensor:
        """The distillation loss of some training clips, without attention maps, which are off while a graph is cut."""
        settings = self._teaching(replace(self._task.config.student.repair, batch_size=BATCH))
        objective = DistillationObjective(
            outputs=self._task.outputs, train=self._task.samples["train"], settings=replace(settings, beta=0.0, mirror=False)
        )
        generator = torch.Generator().manual_seed(self._task.config.seed)
        rows = torch.randperm(len(self._task.samples["train"]), generator=generator)[:_CALIBRATION_CLIPS]
        parts = [objective(student, Batch(rows=part, epoch=0, step=0, generator=generator)) for part in rows.split(BATCH)]
        return torch.stack(parts).mean()

    def _factorise(self, student: nn.Module, report: Report) -> dict[str, Any]:
        task = self._task
        settings = replace(task.config.student.low_rank, energy=float(self._genome["rank_energy"]))
        done = factorise(student, example_of(task.samples["train"]), settings, task.family.pruning_rules(student))
        self._teach(student, task.config.student.repair, "factorise", report)
        return {"low_rank.json": asdict(done)}

    def _align(self, student: nn.Module, report: Report) -> dict[str, Any]:
        task = self._task
        settings = AlignSettings(gamma=float(self._genome["gamma"]), every=int(self._genome["align_every"]))
        if task.paths is None:
            raise ConfigurationError(
                f"gamma {settings.gamma:g} needs the teacher's evidence; let space.gamma hold a value above 0"
            )
        beside = PathAlignment(task.paths, task.samples["train"], settings)
        self._teach(student, task.config.student.align, "align", report, beside=beside)
        return {}

    def _quantise(self, student: nn.Module, report: Report) -> dict[str, Any]:
        train, config = self._task.samples["train"], self._task.config
        batches = (train.batch(slice(start, start + BATCH)) for start in range(0, min(len(train), _CALIBRATION_CLIPS), BATCH))
        settings = placed(config.student.quantise, config.latency.backend)
        done = quantise(student, example_of(train), settings, batches=batches)
        self._teach(student, config.student.qat, "qat", report)
        freeze(student)
        return {"quantisation.json": asdict(done)}

    def _teach(
        self,
        student: nn.Module,
        loop: LoopSettings,
        stage: str,
        report: Report,
        *,
        beside: Objective | None = None,
        parts: Sequence[str] = (),
    ) -> None:
        task = self._task
        settings = self._teaching(loop)
        with self._gate.running(student, task.device), moved(task.device, student):
            distill(
                student, task.outputs, task.samples["train"], task.samples["val"], settings,
                seed=task.config.seed, report=report, stage=stage, beside=beside, parts=parts,
            )  # fmt: skip

    def _teaching(self, loop: LoopSettings) -> DistillSettings:
        """A loop with the genome's loss."""
        return DistillSettings(
            **{name: getattr(loop, name) for name in loop.__dataclass_fields__},
            alpha=float(self._genome["alpha"]),
            beta=float(self._genome.get("beta", 0.0)),
            temperature=float(self._genome["temperature"]),
            patch=float(self._genome.get("patch_weight", 0.0)),
            patch_loss=PatchLoss(str(self._genome.get("patch_loss", PatchLoss.SQUARED))),
            mirror=self._task.config.student.mirror,
        )


def parts_of(student: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths of the head, and of the last block with the head, as the model names them.

    Raises:
        ConfigurationError: it does not.
    """
    head, last = getattr(student, "head_parts", ()), getattr(student, "last_parts", ())
    if not head or not last:
        raise ConfigurationError(f"a {type(student).__name__} names no head to teach first; set space.schedule to one-stage")
    return tuple(head), tuple(last)
