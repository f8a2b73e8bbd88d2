"""Samples that travel with a bundle: a few inputs and what the file made of them, so that a receiver can run it and compare.

`sample.npz` holds an array `input.NAME` (B, ...) for each input and `output.NAME` (B, ...) for each output; no pickle in it.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.errors import BackendError, IntegrityError
from paretolens.exporters.files import write_atomic
from paretolens.exporters.runner import OnnxRunner

__all__ = ["SAMPLE", "check_sample", "read_sample", "record_sample"]

SAMPLE = "sample.npz"
_ENDS = "input.", "output."

Arrays = dict[str, np.ndarray]


def record_sample(folder: Path, model: str, inputs: Mapping[str, np.ndarray]) -> None:
    """Run the graph of `model` as it is written and keep inputs and outputs in `folder`.

    Args:
        folder: Folder of the bundle.
        model: Name of the ONNX file in it.
        inputs: Per input name (B, ...), B ≥ 1, scaled as the model wants them.

    Raises:
        BackendError: the inputs are not the model's.
        StoreError: the file cannot be written.
    """
    outputs = OnnxRunner(folder / model, optimise=False).run(inputs)
    stream = io.BytesIO()
    named = {f"input.{name}": value for name, value in inputs.items()} | {f"output.{n}": v for n, v in outputs.items()}
    np.savez_compressed(stream, allow_pickle=False, **named)
    write_atomic(folder / SAMPLE, stream.getvalue())


def read_sample(path: Path) -> tuple[Arrays, Arrays]:
    """Inputs and recorded outputs by name.

    Raises:
        IntegrityError: the file is no archive of arrays, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"samples {path}: cannot be read ({error}); write the bundle again") from error
    inputs, outputs = ({n.removeprefix(end): v for n, v in arrays.items() if n.startswith(end)} for end in _ENDS)
    if not inputs or not outputs or len(inputs) + len(outputs) != len(arrays):
        raise IntegrityError(f"samples {path}: must hold input.NAME and output.NAME, got {sorted(arrays)}; write it again")
    return inputs, outputs


def check_sample(folder: Path, manifest: Mapping[str, Any]) -> float:
    """Run the bundle's model on its stored inputs; returns the largest absolute difference of a logit from what was recorded.

    Raises:
        IntegrityError: the samples cannot be read.
        BackendError: the model does not run here, or a logit differs by more than the manifest allows; the sample is named.
    """
    inputs, recorded = read_sample(folder / manifest["sample"]["file"])
    found = OnnxRunner(folder / manifest["model"]["file"], optimise=False).run(inputs)
    name, allowed = manifest["decision"]["output"], float(manifest["sample"]["tolerance"])
    if name not in recorded or name not in found or recorded[name].shape != found[name].shape:
        raise IntegrityError(f"bundle {folder}: its samples do not record the output {name}; write the bundle again")
    difference = np.abs(found[name].astype(np.float64) - recorded[name]).reshape(len(found[name]), -1).max(1)
    worst = int(np.argmax(np.where(np.isfinite(difference), difference, np.inf)))
    if not difference[worst] <= allowed:
        raise BackendError(
            f"bundle {folder}: sample {worst} gives a logit that differs by {difference[worst]:.3g} from the recorded one, "
            f"{allowed:g} is allowed: this machine or its onnxruntime computes otherwise; use the versions of requirements.txt"
        )
    return float(difference[worst])
