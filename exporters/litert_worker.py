"""The other end of `litert_env`: converts, runs and times .tflite files. Runs in LiteRT's own environment.

`python -m paretolens.exporters.litert_worker FOLDER` reads FOLDER/job.json and writes FOLDER/answer.json.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["main"]

RECIPES = {"dynamic": "dynamic_wi8_afp32", "full-int8": "static_wi8_ai8"}
INT8 = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operators that `static-int8` rounds; softmax, layer norms and sums stay in float, as in an ONNX file that was trained so."""
IN_FLOAT = (r".*serving_default_output.*", r".*_gate[;/].*")
"""Names of tensors whose fully connected layers stay in float too: outputs, which calibrated steps would clip, and gates."""


def convert(job: dict[str, Any]) -> dict[str, Any]:
    """Write `fp32.tflite`, and quantised files of it, into `out`; the model takes a batch of 1.

    With `whole` in the job that float file is quantised, and nothing is converted.
    """
    inputs, out = _inputs(job), Path(job["out"])
    whole = Path(job["whole"]) if job.get("whole") else _convert(job, inputs, out / "fp32.tflite")
    for precision in job["precisions"]:
        if precision != "fp32":
            rows = [_named(job, inputs, row) for row in range(len(inputs[job["inputs"][0]]))]
            _quantise(whole, out / f"{precision}.tflite", precision, rows)
    return {}


def _convert(job: dict[str, Any], inputs: dict[str, np.ndarray], path: Path) -> Path:
    """The model in float, its quantisers off."""
    import litert_torch
    import torch
    from torch import Tensor, nn

    from paretolens.models.record import load_model
    from paretolens.trainers.quantise import quantisers_off

    class Plain(nn.Module):
        """The model with a plain tuple as its output."""

        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.model(*inputs))

    torch.set_num_threads(1)
    model = load_model(Path(job["model"])).eval()
    with quantisers_off(model), torch.no_grad():
        example = tuple(torch.from_numpy(inputs[name][:1]) for name in job["inputs"])
        litert_torch.convert(Plain(model).eval(), example).export(str(path))
    return path


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run every sample through the interpreter; outputs by name in the file `outputs`."""
    runner, inputs = _runner(job), _inputs(job)
    ends, starts = runner.get_output_details(), runner.get_input_details()
    columns: dict[str, list[np.ndarray]] = {name: [] for name in job["outputs"]}
    for row in range(len(inputs[job["inputs"][0]])):
        found = runner(**{name: _to_grid(value, starts[name]) for name, value in _named(job, inputs, row).items()})
        for number, name in enumerate(job["outputs"]):
            columns[name].append(_from_grid(found[f"output_{number}"], ends[f"output_{number}"]))
    np.savez(job["results"], allow_pickle=False, **{name: np.concatenate(rows) for name, rows in columns.items()})
    return {"runtime": _version()}


def clock(job: dict[str, Any]) -> dict[str, Any]:
    """Time runs on one sample: wall and thread CPU times in ns, and the memory that the model takes, in bytes."""
    from ai_edge_litert.interpreter import Interpreter

    from paretolens.exporters.process_memory import peak_bytes, reset_peak, resident_bytes

    before = resident_bytes()
    reset_peak()
    interpreter = Interpreter(str(job["model"]), num_threads=int(job["threads"]))
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for spec in interpreter.get_input_details():
        shape, kind = spec["shape"], np.dtype(spec["dtype"])
        normal = generator.standard_normal(shape)
        interpreter.set_tensor(spec["index"], normal.astype(kind) if kind.kind == "f" else np.zeros(shape, kind))
    for _ in range(int(job["warmup"])):
        interpreter.invoke()
    times = []
    for _ in range(int(job["runs"])):
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        interpreter.invoke()
        times.append((time.perf_counter_ns() - wall, time.thread_time_ns() - cpu))
    walls, cpus = zip(*times, strict=True)
    peak = max(peak_bytes(), before)
    return {"wall_ns": walls, "cpu_ns": cpus, "model_bytes": peak - before, "process_bytes": peak, "runtime": _version()}


def _quantise(whole: Path, path: Path, precision: str, calibration: list[dict[str, np.ndarray]]) -> None:
    from ai_edge_quantizer import qtyping, quantizer, recipe

    worker = quantizer.Quantizer(str(whole))
    if precision in RECIPES:
        worker.load_quantization_recipe(getattr(recipe, RECIPES[precision])())
    else:
        for name in INT8:
            operator = qtyping.TFLOperationName[name]
            worker.add_static_config(regex=".*", operation_name=operator, activation_num_bits=8, weight_num_bits=8)
        for pattern in IN_FLOAT:
            worker.update_quantization_recipe(
                regex=pattern, operation_name=qtyping.TFLOperationName.FULLY_CONNECTED, algorithm_key="no_quantize"
            )
    found = worker.calibrate({"serving_default": calibration}) if worker.need_calibration else None
    worker.quantize(found).export_model(str(path), overwrite=True)


def _runner(job: dict[str, Any]) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(job["model"]), num_threads=int(job.get("threads", 1)))
    interpreter.allocate_tensors()
    return interpreter.get_signature_runner()


def _to_grid(value: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """Floats on the integer grid of an input of a quantised file; anything else as it is."""
    kind, (scale, zero) = np.dtype(spec["dtype"]), spec["quantization"]
    if kind.kind != "i" or not scale:
        return value
    limits = np.iinfo(kind)
    placed: np.ndarray = np.clip(np.round(value / scale + zero), limits.min, limits.max).astype(kind)
    return placed


def _from_grid(value: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """What integers of a quantised output stand for."""
    scale, zero = spec["quantization"]
    return (value.astype(np.float32) - zero) * np.float32(scale) if value.dtype.kind == "i" and scale else value


def _inputs(job: dict[str, Any]) -> dict[str, np.ndarray]:
    with np.load(job["samples"], allow_pickle=False) as stored:
        return {name: stored[name] for name in job["inputs"]}


def _named(job: dict[str, Any], inputs: dict[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    """One sample under the names that the converter gives."""
    return {f"args_{number}": inputs[name][row : row + 1] for number, name in enumerate(job["inputs"])}


def _version() -> str:
    import importlib.metadata

    return f"litert {importlib.metadata.version('ai-edge-litert')}"


def main(folder: Path) -> None:
    """Do the job."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    try:
        answer = {"convert": convert, "run": run, "time": clock}[job["do"]](job)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        sys.exit(f"{type(error).__name__}: {lines[0] if lines else 'no reason was given'}")
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
