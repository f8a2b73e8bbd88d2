"""LiteRT files (.tflite) of a saved model, held against the torch model on the same clips.

Files of several `precisions`; rounded activations are calibrated on clips. They take one sample at a time. A student that was
trained to be quantised is converted with its quantisers off: LiteRT rounds its weights by its own grid, so `static-int8` is not
the `int8` of the ONNX file.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.errors import BackendError
from paretolens.exporters.files import sha256_of
from paretolens.exporters.litert_env import run_in
from paretolens.exporters.parity import TOLERANCE
from paretolens.exporters.precisions import AGREEMENT, USUAL
from paretolens.models.decision import verdicts
from paretolens.models.signature import Signature

__all__ = ["TargetFile", "compare_target", "export_litert", "run_litert"]

CALIBRATION = 32
"""Clips that activations are calibrated on."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class TargetFile:
    """One file for one runtime and what it gave."""

    runtime: str
    """Library and version it was checked with."""
    precision: str
    """`fp32`, `tf32`, `fp16`, `int8` (as trained), or as in PRECISIONS."""
    size_bytes: int
    """Size on disk."""
    sha256: str
    """Checksum."""
    samples: int
    """Clips it was compared on."""
    max_difference: float
    """Largest absolute difference of a logit from the torch model's."""
    mean_difference: float
    """Mean absolute difference of the logits."""
    worst_sample: str
    """Name of the clip with `max_difference`."""
    decision_agreement: float
    """Share of clips with the torch model's verdict, 0..1."""
    accuracy: float
    """Share of the clips that it judges rightly, 0..1."""
    reference_accuracy: float
    """The same of the torch model."""

    def record(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


def export_litert(
    python: Path, model: Path, signature: Signature, calibration: Arrays, out: Path, *,
    precisions: Iterable[str] = USUAL, whole: Path | None = None, tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Path]:  # fmt: skip
    """Convert a saved model; returns the files by precision.

    Args:
        python: Interpreter of LiteRT's environment, see `litert_env`.
        model: Folder of `save_model`.
        signature: Its inputs and outputs.
        calibration: Scaled inputs (B, ...) by name; the first is the example, the first 32 calibrate activations.
        out: Folder of the files, which exists.
        precisions: Those wanted, of PRECISIONS; without `fp32` where `whole` is given.
        whole: The float file that an earlier call made: it is quantised, which takes a second where converting takes many.
        tell: Told in a line how far the conversion is.

    Raises:
        BackendError: the converter failed; its last line is quoted.
    """
    wanted = tuple(precisions)
    job: dict[str, Any] = {"do": "convert", "model": str(model), "out": str(out), "precisions": wanted, **_names(signature)}
    job["whole"] = str(whole) if whole else None
    _with_samples(python, job, {name: value[:CALIBRATION] for name, value in calibration.items()}, tell)
    return {precision: out / f"{precision}.tflite" for precision in wanted}


def run_litert(python: Path, path: Path, signature: Signature, inputs: Arrays) -> tuple[dict[str, np.ndarray], str]:
    """Outputs of every sample by name, and the library with its version.

    Raises:
        BackendError: the interpreter does not take the file.
    """
    with tempfile.TemporaryDirectory(prefix="paretolens-litert-") as folder:
        results = Path(folder) / "results.npz"
        job = {"do": "run", "model": str(path), "results": str(results), **_names(signature)}
        answer = _with_samples(python, job, inputs)
        with np.load(results, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}, str(answer["runtime"])


def compare_target(
    path: Path, runtime: str, precision: str, *, found: np.ndarray, wanted: np.ndarray, labels: np.ndarray, ids: tuple[str, ...]
) -> TargetFile:
    """Hold a file's logits (N,) or scores of classes (N, K) against the torch model's, both against the labels (N,).

    Raises:
        BackendError: a float file differs by more than 1e-4, or too many verdicts by `AGREEMENT`; the worst clip is named.
    """
    difference = np.abs(found.astype(np.float64) - wanted).reshape(len(found), -1).max(axis=1)
    worst = int(np.argmax(np.where(np.isfinite(difference), difference, np.inf)))
    agreement = float(np.mean(verdicts(found) == verdicts(wanted)))
    exact = precision != "fp32" or bool(difference[worst] <= TOLERANCE)
    if not np.isfinite(difference[worst]) or not exact or agreement < AGREEMENT[precision]:
        rule = f"lie within {TOLERANCE:g} of the torch model's" if precision == "fp32" else "be finite"
        raise BackendError(
            f"{path.name}: logits must {rule} and at least {AGREEMENT[precision]:.0%} of the verdicts be the same; clip "
            f"{ids[worst]} differs by {difference[worst]:.3g}, {agreement:.1%} of the verdicts agree: leave this target out"
        )
    return TargetFile(
        runtime=runtime, precision=precision, size_bytes=path.stat().st_size, sha256=sha256_of(path), samples=len(found),
        max_difference=float(difference[worst]), mean_difference=float(difference.mean()), worst_sample=ids[worst],
        decision_agreement=agreement, accuracy=float(np.mean(verdicts(found) == labels)),
        reference_accuracy=float(np.mean(verdicts(wanted) == labels)),
    )  # fmt: skip


def _names(signature: Signature) -> dict[str, list[str]]:
    return {"inputs": [spec.name for spec in signature.inputs], "outputs": list(signature.outputs)}


def _with_samples(
    python: Path, job: dict[str, Any], inputs: Arrays, tell: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Do a job on samples that travel as a file."""
    with tempfile.TemporaryDirectory(prefix="paretolens-litert-") as folder:
        samples = Path(folder) / "samples.npz"
        np.savez(samples, allow_pickle=False, **inputs)
        return run_in(python, {**job, "samples": str(samples)}, tell=tell)
