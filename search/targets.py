"""Files for other runtimes in a bundle, each held against the torch model: logits, accuracy, and EPS on a few clips."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paretolens.data.samples import SampleSet
from paretolens.errors import ConfigurationError
from paretolens.evaluators.eps import EpsScore
from paretolens.exporters.file_model import FileModel
from paretolens.exporters.files import write_atomic
from paretolens.exporters.litert import compare_target, export_litert, run_litert
from paretolens.exporters.litert_env import make_environment
from paretolens.exporters.precisions import USUAL
from paretolens.exporters.runner import OnnxRunner
from paretolens.exporters.tensorrt import EnginePrecision, EngineSettings
from paretolens.models.decision import flat
from paretolens.models.record import load_model
from paretolens.search.cascade import Run
from paretolens.search.engines import engine_run, with_timing_cache
from paretolens.search.score import BATCH
from paretolens.search.study import Study
from paretolens.search.target_eps import ExplainedJudge
from paretolens.trainers.quantise import quantisers_off

__all__ = ["TARGETS", "TargetSet", "Targets", "parse_targets", "write_targets"]

TARGETS = ("onnx", "litert", "tensorrt-onnx", "tensorrt")
AT_ONCE = 512
"""Points that go to LiteRT's own process at once."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is wanted."""

    names: tuple[str, ...]
    """Of TARGETS; see `parse_targets`."""
    litert: tuple[str, ...] = USUAL
    """Precisions of LiteRT files, of PRECISIONS of `exporters.precisions`."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    """How a TensorRT engine is built; without a timing cache of its own, that of the workspace for this library and GPU."""
    tensorrt: tuple[EnginePrecision, ...] = (EnginePrecision.TRAINED,)
    """Precisions of TensorRT's graphs and engines."""


@dataclass(frozen=True, kw_only=True)
class TargetSet:
    """What goes into a bundle for the targets."""

    files: dict[str, Path]
    """By name in the bundle."""
    records: dict[str, dict[str, Any]]
    """What each gave, by name of the target, with its `file`."""


def parse_targets(text: str) -> tuple[str, ...]:
    """`onnx,litert` as names, each once; `onnx` is always among them.

    Raises:
        ConfigurationError: an unknown name.
    """
    names = tuple(dict.fromkeys(["onnx", *filter(None, (part.strip() for part in text.split(",")))]))
    for name in names:
        if name not in TARGETS:
            raise ConfigurationError(f"--targets {name}: must be of {', '.join(TARGETS)}")
    return names


def write_targets(study: Study, trial: Path, targets: Targets, out: Path, tell: Tell, *, val: SampleSet) -> TargetSet:
    """Make the files of one trial.

    Args:
        study: The study.
        trial: The trial's folder, with `model.onnx` and the torch model in `model`.
        targets: Which, and how.
        out: Folder for the files, which exists.
        tell: Told in a line what is going on.
        val: The study's validation split.

    Raises:
        BackendError: a runtime is missing or does not take the model, or a file's parity failed; the worst clip is named.
        IntegrityError: the teacher's file is gone.
    """
    engine = targets.engine
    if "tensorrt" in targets.names:
        engine = with_timing_cache(engine, study.workspace.cache, wanted_by="--targets tensorrt")
    made, records = dict[str, Path](), dict[str, dict[str, Any]]()
    tell("the teacher's explanations by occlusion")
    teacher = study.folder / "baseline" / "model.onnx"
    explained = ExplainedJudge(teacher, val, study.config.eps, study.workspace.cache / "maps")
    judge = _Judge(val, trial, explained, tell)
    for name in targets.names:
        tell(name)
        if name == "onnx":
            records[name] = {"file": "model.onnx", **judge.onnx(trial / "model.onnx")}
        elif name == "litert":
            python = make_environment(study.workspace.cache, tell)
            files = export_litert(python, trial / "model", val.signature, judge.inputs, out, precisions=targets.litert, tell=tell)
            for precision, path in files.items():
                made[f"litert/{precision}.tflite"] = path
                records[f"litert-{precision}"] = {"file": f"litert/{precision}.tflite", **judge.litert(python, path, precision)}
        elif name == "tensorrt-onnx":
            for kind in targets.tensorrt:
                path = out / f"{kind}.onnx"
                records[f"{name}-{kind}"] = {"file": f"tensorrt/{path.name}", **judge.graph(trial / "model.onnx", path, kind)}
                made[f"tensorrt/{path.name}"] = path
        else:
            for kind in targets.tensorrt:
                path, settings = out / f"{kind}.engine", replace(engine, precision=kind)
                records[f"{name}-{kind}"] = {
                    "file": f"tensorrt/{path.name}",
                    **judge.tensorrt(trial / "model.onnx", path, settings),
                }
                made |= {f"tensorrt/{one.name}": one for one in (path, path.with_name(f"{path.name}.json"))}
    return TargetSet(files=made, records=records)


class _Judge:
    """The validation clips and what the torch model says of them, with its quantisers on and off."""

    def __init__(self, samples: SampleSet, trial: Path, explained: ExplainedJudge, tell: Tell) -> None:
        self.samples, self.explained, self.tell = samples, explained, tell
        batches = [samples.batch(slice(at, at + BATCH)) for at in range(0, len(samples), BATCH)]
        self.names = [spec.name for spec in samples.signature.inputs]
        columns = zip(self.names, zip(*batches, strict=True), strict=True)
        self.inputs = {name: torch.cat(column).numpy() for name, column in columns}
        self.model = load_model(trial / "model").eval()
        with torch.inference_mode():
            self.quantised = flat(torch.cat([self.model(*batch).logit for batch in batches]).numpy())
            with quantisers_off(self.model):
                self.plain = flat(torch.cat([self.model(*batch).logit for batch in batches]).numpy())

    @cached_property
    def quantised_eps(self) -> EpsScore:
        """The torch model's own explanations."""
        self.tell("torch: explaining by occlusion")
        return self.explained.score(self.model)

    @cached_property
    def plain_eps(self) -> EpsScore:
        """The same with its quantisers off."""
        self.tell("torch, quantisers off: explaining by occlusion")
        with quantisers_off(self.model):
            return self.explained.score(self.model)

    def onnx(self, path: Path) -> dict[str, Any]:
        """The ONNX file as it is run: optimised."""
        import onnxruntime

        from paretolens.exporters.onnx import read_precision

        run = OnnxRunner(path).run
        return self._compare(path, f"onnxruntime {onnxruntime.__version__}", read_precision(path), self._logits(run), run)

    def litert(self, python: Path, path: Path, precision: str) -> dict[str, Any]:
        """A LiteRT file; quantisers of its own stand in for the model's."""
        self.tell(f"litert {precision}: judging {len(self.samples)} clips")
        outputs, runtime = run_litert(python, path, self.samples.signature, self.inputs)

        def run(inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            return run_litert(python, path, self.samples.signature, inputs)[0]

        return self._compare(path, runtime, precision, flat(outputs["logit"]), run, plain=True, chunk=AT_ONCE)

    def graph(self, onnx: Path, path: Path, precision: EnginePrecision) -> dict[str, Any]:
        """The graph that TensorRT is given, run by ONNX Runtime as it is written; parsed by TensorRT where one is installed."""
        import onnxruntime

        from paretolens.exporters.tensorrt import check_operators, flavours, tensorrt_graph

        library = next((flavour for flavour in flavours() if flavour.usable), None)
        made = check_operators(onnx, precision=precision) if library else tensorrt_graph(onnx, precision)
        write_atomic(path, made.content)
        run = OnnxRunner(path, optimise=False).run
        record = self._compare(path, f"onnxruntime {onnxruntime.__version__}", made.precision, self._logits(run), run)
        return record | {"parsed_by": f"{library.name} {library.version}" if library else None}

    def tensorrt(self, onnx: Path, path: Path, settings: EngineSettings) -> dict[str, Any]:
        """An engine of the ONNX file, built and run on this machine's GPU: the first clip alone, all by the largest batch."""
        from paretolens.exporters.tensorrt import build_engine
        from paretolens.exporters.tensorrt_files import save_engine
        from paretolens.exporters.tensorrt_runner import EngineRunner

        engine = build_engine(onnx, settings=settings)
        save_engine(engine, path, device=torch.cuda.get_device_name())
        run = engine_run(engine)
        found = flat(run(self.inputs)["logit"])
        if engine.settings.min_batch == 1:
            alone = EngineRunner(engine, batch=1).run({name: value[:1] for name, value in self.inputs.items()})
            found[:1] = flat(alone["logit"])
        return self._compare(path, f"{engine.flavour} {engine.version}", engine.precision, found, run)

    def _logits(self, run: Run) -> np.ndarray:
        """(N,), or scores of classes (N, K), of the validation clips, a batch at a time."""
        parts = [{n: v[at : at + BATCH] for n, v in self.inputs.items()} for at in range(0, len(self.samples), BATCH)]
        return flat(np.concatenate([run(part)["logit"] for part in parts]))

    def _compare(
        self, path: Path, runtime: str, precision: str, found: np.ndarray, run: Run, *, plain: bool = False,
        chunk: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Hold a file's logits and explanations against the torch model's; `plain` = against its quantisers off."""
        wanted = self.plain if plain else self.quantised
        record = compare_target(
            path, runtime, precision, found=found, wanted=wanted, labels=self.samples.labels, ids=self.samples.ids
        ).record()
        twin = self.plain_eps if plain else self.quantised_eps
        self.tell(f"{path.name}: explaining by occlusion")
        score = self.explained.score(FileModel(path, run, self.names), chunk)
        return record | {"explanations": self.explained.compare(path.name, precision, file=score, twin=twin).record()}
