"""What each compression gives on the file that ships: one student, compressed one way after the other, beside its teacher.

    paretolens search                      (its clips, teacher and maps are used)
    make bench-ship                        (about ten minutes; ARGS='--backbone mobilenet_v3_small' for another student)
    make bench-ship ARGS='--only teacher,distilled'        (a part; what is made already is kept, and only timed again)

Every row is trained, exported and scored by the engine's own trial; PTQ is the distilled student with calibrated quantisers and
no training after. Latency is that of ONNX Runtime on the CPU, one thread, of all rows one after the other once they are made: the
median on the clock, and `latency_ms`, the noise-proof estimate that searches use. The teacher is measured as int8 too, so that a
student's share is not its precision's. `--litert` adds the median of LiteRT on the same models (float files, and those of
`static-int8` for the int8 rows: what LiteRT rounds by itself of the float weights); where a GPU is, TensorRT's is added.

Then the claims: > 75 % smaller, > 3x faster, < 2 points of accuracy lost, < 512 MB of memory; int8 at least 1.5x faster than the
same student in FP32. Exit code 1 if one of them falls short on every row.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paretolens.evaluators.cost import count_cost
from paretolens.evaluators.eps import score_eps
from paretolens.evaluators.latency import Backend, Calibration, measure_latency, probe
from paretolens.evaluators.memory import peak_memory
from paretolens.exporters.files import write_atomic
from paretolens.exporters.litert_env import make_environment
from paretolens.exporters.onnx import export_onnx
from paretolens.mlflow.chart import half_up
from paretolens.models.record import load_model
from paretolens.search.baseline import measure_baseline
from paretolens.search.bench import time_litert
from paretolens.search.elsewhere import litert_file
from paretolens.search.measuring import bench_of
from paretolens.search.placement import placed
from paretolens.search.progress import Silent
from paretolens.search.score import BATCH, score_artefact
from paretolens.search.stored import read_json
from paretolens.search.study import Study, load_study
from paretolens.search.task import Task, example_of
from paretolens.search.trial import run_trial
from paretolens.search.workspace import Workspace
from paretolens.trainers.quantise import freeze, quantise, quantisers_off

FULL, INT8 = "FP32", "INT8"
_LEAST: Mapping[str, Any] = {
    "backbone": "mobilenet_v3_small", "backbone_width": 0.25, "audio_width": 32, "audio_head": "tcn", "width": 32, "depth": 1,
    "heads": 2, "ffn": 1,
}  # fmt: skip
"""The default space's smallest student."""
TRIALS: Mapping[str, Mapping[str, Any]] = {
    "distilled": {},
    "pruned": {"prune_ratio": 0.4},
    "pruned, half the tokens' width": {"prune_ratio": 0.4, "stream_ratio": 0.5},
    "low rank": {"rank_energy": 0.8},
    "aligned": {"gamma": 10.0},
    "QAT": {"qat": True},
    "pruned, QAT": {"prune_ratio": 0.4, "qat": True},
    "pruned, low rank, aligned, QAT": {"prune_ratio": 0.4, "rank_energy": 0.8, "gamma": 10.0, "qat": True},
    "smallest": {**_LEAST, "prune_ratio": 0.8, "stream_ratio": 0.5},
    "fastest": {**_LEAST, "frames": 4, "frame_size": 32, "prune_ratio": 0.8, "stream_ratio": 0.5},
}
"""What each row's genome has beside the plain one; the last two are other networks, which show how far it goes."""
ROWS = ("teacher", "teacher, PTQ", "distilled", "PTQ", *list(TRIALS)[1:])
COLUMNS = ("size", "parameters", "MACs", "p50", "latency_ms", "memory", "accuracy (val)", "accuracy (test)", "EPS [95 %]")
OTHERS = {"litert_p50_ms": "p50, LiteRT", "tensorrt_p50_ms": "p50, TensorRT"}
"""Columns of other runtimes, where they were measured."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model as it ships."""

    name: str
    precision: str
    metrics: Mapping[str, float]
    memory_mb: float
    file: str

    def cells(self) -> str:
        """A row of the table."""
        m = self.metrics
        eps = f"{m['eps']:.3f}" + (f" [{m['eps_low']:.3f}, {m['eps_high']:.3f}]" if "eps_low" in m else "")
        cost = [f"{m['size_mb']:.2f} MB", f"{m['parameters'] / 1e6:.3f} M", f"{m['macs'] / 1e6:.1f} M"]
        speed = [f"{m['latency_p50_ms']:.2f} ms", f"{m['latency_ms']:.2f} ms", f"{self.memory_mb:.0f} MB"]
        others = [f"{m[name]:.2f} ms" for name in OTHERS if name in m]
        figures = [*cost, *speed, half_up(m["accuracy"], 3), half_up(m["test_accuracy"], 3), eps, *others]
        return f"| {self.name} | {self.precision} | " + " | ".join(figures) + " |"


class Shipping:
    """The models of one study's task."""

    def __init__(
        self, study: Study, folder: Path, wishes: Mapping[str, Any], wanted: Sequence[str], litert: Path | None = None
    ) -> None:
        gammas = [0.0, 10.0] if any("aligned" in name for name in wanted) else [0.0]  # the teacher's evidence takes a minute
        config = replace(study.config, space={**study.config.space, "gamma": gammas, "rank_energy": [0.8, 1.0]})
        self.task = Task.prepare(config, study.workspace, Silent())
        self.calibration: Calibration | None = study.calibration()
        plain = {"prune_ratio": 0.0, "rank_energy": 1.0, "gamma": 0.0, "qat": False}
        self.plain = self.task.space.repair({**self.task.space.default(), **wishes, **plain})
        self.folder = folder / "{backbone}-{backbone_width:g}".format(**self.plain)
        self.wanted = wanted
        self.litert = litert

    def rows(self) -> Iterator[Row]:
        """Those wanted, made or read back, then timed one after the other."""
        made = [self.kept(name) for name in self.wanted]
        for row in made if self.litert else ():
            self.lite(row)
        for row in made:
            yield replace(row, metrics={**row.metrics, **self.timed(self.folder / row.file), **self.elsewhere(row)})

    def kept(self, name: str) -> Row:
        """A row that an earlier run made, or made now."""
        path = self.folder / f"{slug(name)}.json"
        if not path.exists():
            make: dict[str, Callable[[], Row]] = {
                "teacher": self.teacher,
                "PTQ": self.post_training,
                "teacher, PTQ": self.rounded,
            }
            row = make[name]() if name in make else self.trial(name, **TRIALS[name])
            write_atomic(path, json.dumps(asdict(row)).encode())
            print(f"made: {name}", file=sys.stderr, flush=True)
        return Row(**read_json(path))

    def teacher(self) -> Row:
        """As it is."""
        assert self.calibration is not None
        found = measure_baseline(self.task, self.folder / "teacher", self.calibration).metrics
        memory = found["process_memory_mb"]
        return Row(name="teacher", precision=FULL, metrics=found, memory_mb=memory, file="teacher/model.onnx")

    def rounded(self) -> Row:
        """The teacher with calibrated quantisers."""
        return self.calibrated("teacher, PTQ", load_model(self.task.teacher_folder))

    def trial(self, name: str, *, stream_ratio: float = 0.0, **changes: Any) -> Row:
        """A genome through the engine's own trial."""
        genome = self.task.space.repair({**self.plain, **changes})
        student = self.task.config.student
        narrowed = replace(student, prune=replace(student.prune, stream_ratio=stream_ratio))
        task = replace(self.task, config=replace(self.task.config, student=narrowed))
        file = f"{slug(name)}/model.onnx"
        outcome = run_trial(genome, task, self.folder / slug(name), lambda _: None, calibration=self.calibration)
        memory = peak_memory(self.folder / file).process_bytes / 1e6
        precision = INT8 if changes.get("qat") else FULL
        return Row(name=name, precision=precision, metrics=outcome.metrics, memory_mb=memory, file=file)

    def timed(self, path: Path) -> dict[str, float]:
        """Latency of a file as the study measures it."""
        config = self.task.config
        return bench_of(config.search).measure(path, config.latency.backend, config.latency, self.calibration).to_metrics()

    def elsewhere(self, row: Row) -> dict[str, float]:
        """Median on the clock of the runtimes that there are beside ONNX Runtime, by column."""
        settings, found = self.task.config.latency, dict[str, float]()
        if self.litert is not None:
            found["litert_p50_ms"] = time_litert(self.litert, self.lite(row), runs=settings.runs, threads=1).percentiles[0]
        if probe().of(Backend.TENSORRT).usable:
            found["tensorrt_p50_ms"] = measure_latency(self.folder / row.file, Backend.TENSORRT, settings).p50_ms
        return found

    def lite(self, row: Row) -> Path:
        """The LiteRT file of a row's float weights, rounded by LiteRT where the row is."""
        assert self.litert is not None, "asked for only with LiteRT"
        folders = {"teacher": self.task.teacher_folder, "teacher, PTQ": self.task.teacher_folder, "PTQ": "distilled/model"}
        model = self.folder / folders.get(row.name, f"{slug(row.name)}/model")
        precision = "static-int8" if row.precision == INT8 else "fp32"
        cache = self.task.workspace.cache
        return litert_file(self.litert, model, self.task.samples["val"], cache, precision=precision)

    def post_training(self) -> Row:
        """The distilled student, rounded without training after."""
        self.kept("distilled")
        return self.calibrated("PTQ", load_model(self.folder / "distilled" / "model"))

    def calibrated(self, name: str, model: nn.Module) -> Row:
        """Quantisers, calibrated on training clips, measured as a trial measures."""
        task, train, config = self.task, self.task.samples["train"], self.task.config
        batches = (train.batch(slice(start, start + BATCH)) for start in range(0, 4 * BATCH, BATCH))
        quantise(model, example_of(train), placed(config.student.quantise, config.latency.backend), batches=batches)
        freeze(model)
        path = self.folder / f"{slug(name)}.onnx"
        with quantisers_off(model):
            cost = count_cost(model, example_of(task.samples["val"], 1))
            eps = score_eps(model, task.reference, config.eps, floor=task.floor).metrics()
        artefact = export_onnx(model, task.signature, example_of(task.samples["val"]), path)
        metrics = {
            **score_artefact(path, task.samples).metrics, **self.timed(path), **eps, "size_mb": artefact.size_bytes / 1e6,
            "parameters": float(cost.parameters), "macs": float(cost.macs),
        }  # fmt: skip
        memory = peak_memory(path).process_bytes / 1e6
        return Row(name=name, precision=INT8, metrics=metrics, memory_mb=memory, file=path.name)


def slug(name: str) -> str:
    """A row's name as a file's."""
    return re.sub(r"\W+", "-", name)


def claims(rows: list[Row]) -> Iterator[tuple[str, bool]]:
    """What was promised, and whether a row keeps it."""
    teacher = next(row for row in rows if row.name == "teacher").metrics
    students = [row for row in rows if not row.name.startswith("teacher")]
    kept = [
        row
        for row in students
        if row.metrics["size_mb"] < 0.25 * teacher["size_mb"]
        and row.metrics["latency_ms"] < teacher["latency_ms"] / 3
        and row.metrics["accuracy"] > teacher["accuracy"] - 0.02
        and row.memory_mb < 512
    ]
    names = ", ".join(row.name for row in kept) or "none"
    yield f"> 75 % smaller, > 3x faster, < 2 points of accuracy lost, < 512 MB: {names}", bool(kept)
    by_name = {row.name: row.metrics for row in students}
    faster = by_name["distilled"]["latency_ms"] / by_name["QAT"]["latency_ms"]
    verdict = "" if faster > 1 else " (smaller but slower)"
    yield f"INT8 against FP32 of the same student: {faster:.2f}x faster{verdict}, goal 1.5x", faster >= 1.5
    for name, most in (("parameters", 0.995), ("latency_ms", 0.9385)):
        reached = [row for row in students if row.metrics[name] <= (1 - most) * teacher[name]]
        best = max(reached, key=lambda row: row.metrics["eps"], default=min(students, key=lambda row: row.metrics[name]))
        less, eps = 1 - best.metrics[name] / teacher[name], best.metrics["eps"]
        cost = f"at EPS {eps:.3f} and accuracy {half_up(best.metrics['accuracy'], 3)}"
        yield f"{most:.2%} less {name}: {best.name} has {less:.2%} less, {cost}", bool(reached)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?")
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    parser.add_argument("--folder", type=Path, help="where folders of students go (default: bench-ship in the workspace)")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument(
        "--width", type=float, default=0.25,
        help="share of the backbone's channels; the nearest that the study's space has is taken (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--only", default=",".join(ROWS).replace(", ", "+"), metavar="A,B",
        help="rows, with + for a comma in a name (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--litert", action="store_true", help="time LiteRT too (makes its environment once, 6 GB)")
    options = parser.parse_args()
    options.only = tuple(name.replace("+", ", ") for name in options.only.split(","))
    unknown = [name for name in options.only if name not in ROWS]
    if unknown:
        parser.error(f"--only {unknown[0]}: must be of {'; '.join(ROWS)}")
    return options


def main() -> int:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(1)
    study = load_study(Workspace.at(options.workspace), options.study)
    wishes = {"backbone": options.backbone, "backbone_width": options.width}
    litert = make_environment(study.workspace.cache, lambda line: None) if options.litert else None
    shipping = Shipping(study, options.folder or options.workspace / "bench-ship", wishes, options.only, litert)
    print(
        "student: {backbone} at {backbone_width:g} of its channels, all else as `paretolens space` has it\n".format(
            **shipping.plain
        )
    )
    rows: list[Row] = []
    for row in shipping.rows():
        if not rows:
            columns = [*COLUMNS, *(title for name, title in OTHERS.items() if name in row.metrics)]
            print("| | precision | " + " | ".join(columns) + " |\n|---|---|" + "---|" * len(columns), flush=True)
        rows.append(row)
        print(row.cells(), flush=True)
    print()
    if not {"teacher", "distilled", "QAT"} <= set(options.only):
        return 0
    found = list(claims(rows))
    for text, holds in found:
        print(f"- {text}: {'holds' if holds else 'falls short'}")
    return 0 if all(holds for _, holds in found[:2]) else 1


if __name__ == "__main__":
    sys.exit(main())
