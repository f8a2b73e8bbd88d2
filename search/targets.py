"""Files for other runtimes in a bundle, each held against the torch model on the validation clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paretolens.data.prepare import prepare
from paretolens.data.samples import SampleSet
from paretolens.errors import BackendError, ConfigurationError
from paretolens.exporters.litert import TargetFile, compare_target, export_litert, run_litert
from paretolens.exporters.litert_env import make_environment
from paretolens.exporters.runner import OnnxRunner
from paretolens.models.record import load_model
from paretolens.search.study import Study
from paretolens.trainers.quantise import quantisers_off

__all__ = ["TARGETS", "TargetSet", "parse_targets", "write_targets"]

TARGETS = ("onnx", "litert", "tensorrt")
BATCH = 32

Tell = Callable[[str], None]


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


def write_targets(study: Study, trial: Path, names: Sequence[str], out: Path, tell: Tell) -> TargetSet:
    """Make the files of one trial.

    Args:
        study: The study.
        trial: The trial's folder, with `model.onnx` and the torch model in `model`.
        names: Of TARGETS.
        out: Folder for the files, which exists.
        tell: Told in a line what is going on.

    Raises:
        BackendError: a runtime is missing or does not take the model, or a file's parity failed; the worst clip is named.
    """
    samples = prepare(study.config.data, study.workspace.cache)["val"]
    made, records = dict[str, Path](), dict[str, dict[str, Any]]()
    judge = _Judge(samples, trial)
    for name in names:
        tell(name)
        if name == "onnx":
            records[name] = {"file": "model.onnx", **judge.onnx(trial / "model.onnx").record()}
        elif name == "litert":
            python = make_environment(study.workspace.cache, tell)
            files = export_litert(python, trial / "model", samples.signature, judge.inputs, out, tell=tell)
            for precision, path in files.items():
                tell(f"litert {precision}: judging {len(samples)} clips")
                made[f"litert/{precision}.tflite"] = path
                record = judge.litert(python, path, precision).record()
                records[f"litert-{precision}"] = {"file": f"litert/{precision}.tflite", **record}
        else:
            path = out / "model.engine"
            records["tensorrt"] = {"file": "tensorrt/model.engine", **judge.tensorrt(trial / "model.onnx", path).record()}
            made |= {f"tensorrt/{one.name}": one for one in (path, path.with_name("model.engine.json"))}
    return TargetSet(files=made, records=records)


class _Judge:
    """The validation clips and what the torch model says of them, with its quantisers on and off."""

    def __init__(self, samples: SampleSet, trial: Path) -> None:
        self.samples = samples
        batches = [samples.batch(slice(at, at + BATCH)) for at in range(0, len(samples), BATCH)]
        names = [spec.name for spec in samples.signature.inputs]
        self.inputs = {name: torch.cat(column).numpy() for name, column in zip(names, zip(*batches, strict=True), strict=True)}
        model = load_model(trial / "model").eval()
        with torch.inference_mode():
            self.quantised = torch.cat([model(*batch).logit for batch in batches]).numpy().reshape(-1)
            with quantisers_off(model):
                self.plain = torch.cat([model(*batch).logit for batch in batches]).numpy().reshape(-1)

    def onnx(self, path: Path) -> TargetFile:
        """The ONNX file as it is run: optimised."""
        import onnxruntime

        from paretolens.exporters.onnx import read_precision

        runner, count = OnnxRunner(path), len(self.samples)
        parts = [{n: v[at : at + BATCH] for n, v in self.inputs.items()} for at in range(0, count, BATCH)]
        found = np.concatenate([runner.run(part)["logit"].reshape(-1) for part in parts])
        return self._compare(path, f"onnxruntime {onnxruntime.__version__}", read_precision(path), found, self.quantised)

    def litert(self, python: Path, path: Path, precision: str) -> TargetFile:
        """A LiteRT file; quantisers of its own stand in for the model's."""
        outputs, runtime = run_litert(python, path, self.samples.signature, self.inputs)
        return self._compare(path, runtime, precision, outputs["logit"].reshape(-1), self.plain)

    def tensorrt(self, onnx: Path, path: Path) -> TargetFile:
        """An engine of the ONNX file, built and run on this machine's GPU."""
        from paretolens.exporters.onnx import read_precision
        from paretolens.exporters.tensorrt import build_engine
        from paretolens.exporters.tensorrt_files import save_engine
        from paretolens.exporters.tensorrt_runner import EngineRunner

        if not torch.cuda.is_available():
            raise BackendError("--targets tensorrt: its parity is measured on an NVIDIA GPU, torch finds none: leave it out here")
        engine, precision = build_engine(onnx), read_precision(onnx)
        save_engine(engine, path, device=torch.cuda.get_device_name(), precision=precision)
        runner = EngineRunner(engine)
        rows = [{name: value[row : row + 1] for name, value in self.inputs.items()} for row in range(len(self.samples))]
        found = np.concatenate([runner.run(row)["logit"].reshape(-1) for row in rows])
        return self._compare(path, f"{engine.flavour} {engine.version}", precision, found, self.quantised)

    def _compare(self, path: Path, runtime: str, precision: str, found: np.ndarray, wanted: np.ndarray) -> TargetFile:
        return compare_target(
            path, runtime, precision, found=found, wanted=wanted, labels=self.samples.labels, ids=self.samples.ids
        )  # fmt: skip
