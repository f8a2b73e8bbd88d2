"""The task of a study: data, teacher, the teacher's outputs and explanations. Made once by the driver, mapped by every worker.

Everything expensive is content-addressed in the workspace's cache, so that `Task.prepare` is both how the driver makes it and how
a worker opens it: what is there is mapped into memory in under a second.
"""

import json
import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from paretolens.data.samples import SampleSet
from paretolens.data.sources import source_label
from paretolens.data.store import build_once, digest_of_file, digest_of_json
from paretolens.errors import IntegrityError
from paretolens.evaluators.eps import ExplainedSet, TeacherReference, floor
from paretolens.evaluators.eps.explained import baseline_inputs
from paretolens.models.decision import flat
from paretolens.models.record import load_model, save_model
from paretolens.models.signature import Signature
from paretolens.search import schema
from paretolens.search.config import Config
from paretolens.search.gate import OPEN, gate_of
from paretolens.search.origin import BUILDING, EXPLAINING, source_digest
from paretolens.search.progress import Steps, Update
from paretolens.search.samples import hold_ground, notes_of, prepared
from paretolens.search.stored import read_json
from paretolens.search.workspace import Workspace
from paretolens.spaces.family import Family
from paretolens.spaces.knobs import Space
from paretolens.trainers.cache import TeacherSource, cache_teacher
from paretolens.trainers.calibration import calibrate, calibrate_teacher
from paretolens.trainers.device import device_for, moved
from paretolens.trainers.distributed import ALONE, World, build_together
from paretolens.trainers.live_teacher import LiveTeacher
from paretolens.trainers.paths import PathMaps, cache_paths
from paretolens.trainers.teacher import train_teacher
from paretolens.trainers.views import View

__all__ = ["Task", "example_of", "trained_teacher"]

REFERENCE_NODES = 16
"""Gradients per sample of the teacher's maps, which are computed once; students take what `eps.nodes` says."""
TEACHER_VERSION = 1
"""Raised whenever the same configuration would give another teacher."""
LATER = (
    "optimiser", "momentum", "step_epochs", "step_factor", "balance", "same_padding", "backbone_weights", "convnext_weights",
    "classes",
)  # fmt: skip
"""Settings younger than teachers that are kept: left out of their address at the default, so that those are still found."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every trial of a study shares. Read-only."""

    config: Config
    """The study's configuration."""
    workspace: Workspace
    """Where files are."""
    family: Family[Any]
    """Builds students."""
    space: Space
    """What varies."""
    signature: Signature
    """Inputs and outputs of teacher and students."""
    samples: Mapping[str, SampleSet]
    """Splits: train, val, test, unseen."""
    teacher: nn.Module
    """Trained, in eval mode."""
    teacher_folder: Path
    """Where the teacher is saved."""
    outputs: TeacherSource
    """What the teacher says about the training split."""
    val_logits: np.ndarray
    """(N,) float32, the teacher's logits on the validation split, or (N, K) its scores of classes: what a student's verdicts are
    held against."""
    reference: TeacherReference
    """The teacher's explanations of the explained set, which is taken from the validation split."""
    floor: float
    """Mean EPS of re-initialised students."""
    second: TeacherReference | None = None
    """The same clips explained in another way (`eps.second`)."""
    paths: PathMaps | None = None
    """The teacher's evidence on the training split; None where the space has no γ above 0."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where this process trains and explains."""

    @classmethod
    def prepare(cls, config: Config, workspace: Workspace, steps: Steps, *, study: Path | None = None) -> "Task":
        """Make or open everything that trials need.

        Args:
            config: valid.
            workspace: holds the cache.
            steps: shows what is done.
            study: folder of the study that this is for; its data and its teacher must be what they were when it began.

        Raises:
            UserError: the cache cannot be written, what it holds is damaged, or the study's data or teacher have changed.
        """
        family, settings = config.make_family(), config.make_model_settings()
        signature = family.signature(settings)
        source = config.make_source()
        with steps.step(f"data ({source_label(source.name)})") as update:
            samples = prepared(config, workspace, update)
            if study is not None:
                hold_ground(study, samples, teacher_address(config, workspace, samples).name)
            update(1, 1, ", ".join(f"{len(split)} {name}" for name, split in samples.items()))
        for line in notes_of(samples):
            steps.note(line)
        with steps.step("teacher") as update:
            device = device_for(config.device)
            folder = trained_teacher(config, workspace, samples, update, world=World(device=device))
            teacher = _load_teacher(folder)
            update(1, 1, _describe_teacher(teacher))
        with steps.step("teacher's outputs"), moved(device, teacher):
            outputs = _outputs(config, teacher, samples["train"], workspace)
            judged = cache_teacher(teacher, samples["val"], workspace.cache / "outputs", views=(View.PLAIN,))
        with steps.step("teacher's maps") as update, moved(device, teacher):
            reference, second = _references(config, teacher, samples["val"], workspace.cache / "maps")
            update(1, 1, f"{int(reference.eligible.sum())} of {len(reference.explained)} explained clips are eligible")
        space = config.make_space()
        paths: PathMaps | None = None
        if _aligns(space):
            with steps.step("teacher's evidence") as update, moved(device, teacher):
                paths = _evidence(config, teacher, samples["train"], workspace)
                update(1, 1, f"{int(paths.fake.sum())} of {len(paths)} training clips are called fake")
        with steps.step("EPS floor") as update:
            zero = _floor(config, workspace.cache / "floors", reference, teacher=folder.name, device=device)
            update(1, 1, f"{zero:.3f} (mean of {config.floor.seeds} untrained students)")
        return cls(
            config=config, workspace=workspace, family=family, space=space, signature=signature, samples=samples,
            teacher=teacher, teacher_folder=folder, outputs=outputs,
            val_logits=flat(judged.logit[0]), reference=reference, floor=zero, second=second,
            paths=paths, device=device,
        )  # fmt: skip


def _aligns(space: Space) -> bool:
    """Whether some genome has its explanations aligned."""
    knob = space.knob("gamma")
    return max(0.0, knob.high or 0.0, *map(float, knob.grid)) > 0


def example_of(samples: SampleSet, count: int = 2) -> tuple[torch.Tensor, ...]:
    """Inputs of the first samples, for tracing and counting."""
    return samples.batch(slice(0, count))


def _begun_from(config: Config) -> dict[str, str]:
    """The content of the files of weights that the teacher begins from, if there are any."""
    teacher = getattr(config.make_model_settings(), "teacher", None)
    files = {name: getattr(teacher, name, None) for name in ("weights", "backbone_weights", "convnext_weights")}
    return {name: digest_of_file(Path(file)) for name, file in files.items() if file is not None}


def teacher_address(config: Config, workspace: Workspace, samples: Mapping[str, SampleSet]) -> Path:
    """Folder of the teacher of a configuration, whether or not it is there."""
    outputs = config.make_family().signature(config.make_model_settings()).outputs
    plain = {
        "version": TEACHER_VERSION,
        "seed": config.seed,
        "family": config.family,
        "model": _addressed(config.make_model_settings()),
        "settings": _addressed(config.teacher),
        "train": samples["train"].fingerprint,
        "val": samples["val"].fingerprint,
        **({"logits": "calibrated"} if "patches" in outputs else {}),
        **_begun_from(config),
    }
    return workspace.cache / "teachers" / digest_of_json(plain)[:24]


def _addressed(settings: Any) -> dict[str, Any]:
    """The settings that a teacher's address names."""
    found = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if item.name not in LATER or value != item.default:
            found[item.name] = _addressed(value) if is_dataclass(value) else schema.to_plain(value)
    return found


def trained_teacher(
    config: Config, workspace: Workspace, samples: Mapping[str, SampleSet], update: Update, *, world: World = ALONE
) -> Path:
    """Folder of the teacher of a configuration, trained unless it is there; by all processes of `world` together.

    The logits of a teacher of patches, which nothing bounds, are calibrated: like any other's they are judged at 0.
    """
    folder = teacher_address(config, workspace, samples)
    checkpoints = folder.with_name(f"{folder.name}.training")
    gate = gate_of(config, workspace) if world.size == 1 else OPEN  # another study of the workspace may be timing

    def train() -> nn.Module:
        model = config.make_family().teacher(config.make_model_settings(), seed=config.seed)

        def report(figures: Mapping[str, float]) -> None:
            note = f"epoch {figures['epoch']:.0f}/{figures['epochs']:.0f}, AUC on val {figures['teacher_val_auc']:.3f}"
            update(int(figures["epoch"]), int(figures["epochs"]), note)

        with gate.running(model, world.device):
            train_teacher(
                model.to(world.device), samples["train"], samples["val"], config.teacher,
                seed=config.seed, report=report, folder=checkpoints, world=world,
            )  # fmt: skip
        return model

    def make(place: Path) -> None:
        save_model(calibrate_teacher(train(), samples["train"]), place)

    build_together(folder, make, beside=train, world=world)
    if world.leads:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return folder


def _outputs(config: Config, teacher: nn.Module, train: SampleSet, workspace: Workspace) -> TeacherSource:
    """What students are taught with; logits of patches are calibrated."""
    outputs: TeacherSource
    if config.cache.teacher:
        views = (View.PLAIN, View.MIRRORED) if config.student.mirror else (View.PLAIN,)
        outputs = cache_teacher(teacher, train, workspace.cache / "outputs", views=views)
    else:
        outputs = LiveTeacher(deepcopy(teacher), train)  # which stays on its device while the teacher itself is moved back
    return outputs if outputs.patch_field is None else calibrate(outputs, train)


def _references(
    config: Config, teacher: nn.Module, val: SampleSet, maps: Path
) -> tuple[TeacherReference, TeacherReference | None]:
    """The teacher's explanations of the explained set, and those by the second explainer where there is one."""
    explained = ExplainedSet.choose(val, config.eps)
    precise, other = replace(config.eps, nodes=max(REFERENCE_NODES, config.eps.nodes)), config.eps.of_second()
    reference = TeacherReference.load_or_compute(maps, teacher, explained, precise)
    return reference, None if other is None else TeacherReference.load_or_compute(maps, teacher, explained, other)


def _evidence(config: Config, teacher: nn.Module, train: SampleSet, workspace: Workspace) -> PathMaps:
    """The teacher's evidence on the training split, at the places of each clip's path where students are asked too."""
    baseline = baseline_inputs(train, config.eps.baseline)
    return cache_paths(teacher, train, baseline, workspace.cache / "outputs", seed=config.seed)


def _load_teacher(folder: Path) -> nn.Module:
    """The trained teacher, in evaluation mode.

    Raises:
        IntegrityError: its files are damaged; deleting them has it trained again.
    """
    try:
        return load_model(folder).eval()
    except IntegrityError as error:
        raise IntegrityError.damaged(folder, str(error).partition(";")[0]) from error


def _floor(config: Config, cache: Path, reference: TeacherReference, *, teacher: str, device: torch.device) -> float:
    """Mean EPS of untrained students of the default genome against a teacher, named by its address; cached."""
    family, genome = config.make_family(), config.make_space().default()
    signature = family.signature(config.make_model_settings())
    plain = {
        "genome": genome,
        "teacher": teacher,
        "seeds": config.floor.seeds,
        "eps": config.eps.record(),
        "explained": [int(row) for row in reference.explained.indices],
        "code": source_digest((*EXPLAINING, *BUILDING)),
    }
    folder = cache / digest_of_json(plain)[:24]

    def untrained(seed: int) -> nn.Module:
        return family.student(genome, signature, seed=seed).to(device)

    def measure(place: Path) -> None:
        found = floor(untrained, range(1, config.floor.seeds + 1), reference, config.eps)
        (place / "floor.json").write_text(json.dumps({"mean": found.mean, "values": found.values}), encoding="utf-8")

    build_once(folder, measure)
    return float(read_json(folder / "floor.json", "mean", entry=folder)["mean"])


def _describe_teacher(teacher: nn.Module) -> str:
    return f"{sum(p.numel() for p in teacher.parameters()) / 1e6:.2f} M parameters"
