"""What aligning explanations gains: the same students of a finished study, fine-tuned with and without it.

    paretolens search
    python benchmarks/explanation_alignment.py [STUDY] [--workspace runs] [--students 4] [--gammas 2,10] [--seeds 0,1]

All are fine-tuned as `student.align` says, by the same distillation loss, on the training clips; they are explained on clips of
the validation split. So that the loss does not grade itself, EPS is also shown from another baseline (zero), of the signed maps
at full resolution, and by another explainer (`eps.second`), none of which the loss knows. Exit code 1 if the gain of the first γ
against plain fine-tuning is not above 0 by its 95 % interval over students and seeds.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paretolens.evaluators.eps import ExplainedSet, TeacherReference, score_eps
from paretolens.evaluators.eps.explained import baseline_inputs
from paretolens.evaluators.eps.settings import BaselineKind, EpsSettings
from paretolens.models.record import load_model
from paretolens.search.finish import pull_front, trial_folder
from paretolens.search.progress import Silent
from paretolens.search.study import Study, load_study
from paretolens.search.task import Task
from paretolens.search.workspace import Workspace
from paretolens.trainers.align import AlignSettings, PathAlignment
from paretolens.trainers.distill import DistillSettings, distill
from paretolens.trainers.loop import Batch
from paretolens.trainers.paths import PathMaps, cache_paths
from paretolens.trainers.validation import Validator

PLAIN = 0.0
COLUMNS = ("eps", "eps_zero", "eps_pixel", "eps_second", "accuracy", "test_accuracy")


@dataclass(frozen=True, kw_only=True)
class Judges:
    """What scores a student's explanations: the study's own definition and others that the loss does not know."""

    own: TeacherReference
    zero: TeacherReference
    second: TeacherReference

    @staticmethod
    def of(task: Task) -> "Judges":
        """The references of a task; they are kept in its cache."""
        wanted: EpsSettings = replace(task.config.eps, baseline=BaselineKind.ZERO, second="none", pixels=False)
        explained, cache = ExplainedSet.choose(task.samples["val"], wanted), task.workspace.cache / "maps"
        zero = TeacherReference.load_or_compute(cache, task.teacher, explained, replace(wanted, nodes=max(16, wanted.nodes)))
        if task.second is None:
            raise SystemExit("the study has no second explainer (eps.second: none), so that the loss would grade itself")
        return Judges(own=task.reference, zero=zero, second=task.second)

    def score(self, model: nn.Module, task: Task) -> dict[str, float]:
        """EPS in four ways, and accuracies."""
        own = score_eps(model, self.own, task.config.eps).metrics()
        return {
            "eps": own["eps"],
            "eps_pixel": own["eps_pixel"],
            "eps_zero": score_eps(model, self.zero).metrics()["eps"],
            "eps_second": score_eps(model, self.second).metrics()["eps"],
            "accuracy": Validator(task.samples["val"])(model).accuracy,
            "test_accuracy": Validator(task.samples["test"])(model).accuracy,
        }


def tuned(folder: Path, genome: Mapping[str, float], task: Task, paths: PathMaps, *, gamma: float, seed: int) -> nn.Module:
    """A finished student, fine-tuned."""
    loop, student = task.config.student.align, load_model(folder / "model")
    settings = DistillSettings(
        **{name: getattr(loop, name) for name in loop.__dataclass_fields__},
        alpha=genome["alpha"], beta=genome["beta"], temperature=genome["temperature"], mirror=task.config.student.mirror,
    )  # fmt: skip
    every = int(task.space.default()["align_every"])
    aligned = PathAlignment(paths, task.samples["train"], AlignSettings(gamma=gamma or 1.0, every=every))

    def nothing(model: nn.Module, _: Batch) -> Tensor:
        return next(model.parameters()).new_zeros(())

    distill(
        student, task.outputs, task.samples["train"], task.samples["val"], settings, seed=seed, report=lambda _: None,
        stage="align", beside=aligned if gamma else nothing,
    )  # fmt: skip
    return student


def students_of(study: Study, count: int) -> list[tuple[str, Path, dict[str, float]]]:
    """Members of the front without fake quantisers, from the fastest to the most accurate: name, folder and what taught them."""
    rows = [row for row in pull_front(study).members.sort_values("latency_ms").to_dict("records") if not row["params.qat"]]
    chosen = [rows[round(place)] for place in np.linspace(0, len(rows) - 1, min(count, len(rows)))]
    defaults = study.config.make_space().default()

    def taught(row: Mapping[str, object]) -> dict[str, float]:
        return {name: _number(row.get(f"params.{name}"), defaults[name]) for name in ("alpha", "beta", "temperature")}

    return [(str(row["trial"]), trial_folder(study, row), taught(row)) for row in chosen]


def _number(value: object, default: object) -> float:
    """A knob's value; the default where it had no effect and was not logged."""
    number = float(str(default if value is None else value))
    return float(str(default)) if np.isnan(number) else number


def line(label: str, found: Sequence[Mapping[str, float]], seconds: float) -> str:
    """A row of means."""
    means = [float(np.mean([one[name] for one in found])) for name in COLUMNS]
    return f"| {label} | " + " | ".join(f"{mean:.3f}" for mean in means) + f" | {seconds:.0f} s |"


def interval(gains: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 95 % bootstrap interval."""
    values, generator = np.asarray(gains), np.random.default_rng(0)
    means = values[generator.integers(len(values), size=(10_000, len(values)))].mean(axis=1)
    return float(values.mean()), float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def main() -> int:
    """Fine-tune and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?")
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    parser.add_argument("--students", type=int, default=4)
    parser.add_argument("--gammas", default="2,10")
    parser.add_argument("--seeds", default="0,1")
    options = parser.parse_args()
    gammas, seeds = [float(part) for part in options.gammas.split(",")], [int(part) for part in options.seeds.split(",")]
    torch.set_num_threads(1)
    study = load_study(Workspace.at(options.workspace), options.study)
    task = Task.prepare(study.config, study.workspace, Silent())
    judges, train = Judges.of(task), task.samples["train"]
    baseline = baseline_inputs(train, task.config.eps.baseline)
    began = time.monotonic()
    paths = cache_paths(task.teacher, train, baseline, study.workspace.cache / "outputs", seed=task.config.seed)
    print(f"teacher's evidence on {int(paths.fake.sum())} clips: {time.monotonic() - began:.0f} s, once per study", flush=True)
    scores: dict[float | None, list[dict[str, float]]] = {}
    took: dict[float | None, list[float]] = {}
    for trial, folder, genome in students_of(study, options.students):
        scores.setdefault(None, []).append(judges.score(load_model(folder / "model").eval(), task))
        for gamma in (PLAIN, *gammas):
            for seed in seeds:
                began = time.process_time()
                model = tuned(folder, genome, task, paths, gamma=gamma, seed=seed)
                took.setdefault(gamma, []).append(time.process_time() - began)
                scores.setdefault(gamma, []).append(judges.score(model, task))
                print(f"  {trial}, gamma {gamma:g}, seed {seed}: EPS {scores[gamma][-1]['eps']:.3f}", file=sys.stderr, flush=True)
    print(f"\n{study.name}: means over {len(scores[None])} students and {len(seeds)} seeds\n")
    print("| | EPS | from zero | pixels | second explainer | accuracy (val) | accuracy (test) | CPU time |")
    print("|---|---|---|---|---|---|---|---|")
    print(line("as the search left it", scores[None], 0.0))
    print(line("fine-tuned alike, not aligned", scores[PLAIN], float(np.mean(took[PLAIN]))))
    for gamma in gammas:
        print(line(f"aligned, γ = {gamma:g}", scores[gamma], float(np.mean(took[gamma]))))
    print("\nGain against the same fine-tuning without alignment, with 95 % intervals over students and seeds:")
    gains = {gamma: _gains(scores[gamma], scores[PLAIN]) for gamma in gammas}
    for gamma, found in gains.items():
        told = [f"{name} {mean:+.3f} [{low:+.3f}, {high:+.3f}]" for name, (mean, low, high) in found.items()]
        print(f"- γ = {gamma:g}: " + ", ".join(told))
    return 0 if gains[gammas[0]]["eps"][1] > 0 else 1


def _gains(aligned: Sequence[Mapping[str, float]], plain: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float, float]]:
    """Differences between the same students and seeds."""
    pairs = list(zip(aligned, plain, strict=True))
    return {name: interval([one[name] - other[name] for one, other in pairs]) for name in COLUMNS}


if __name__ == "__main__":
    sys.exit(main())
