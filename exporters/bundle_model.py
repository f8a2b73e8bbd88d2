"""The model of a bundle, its manifest, and how arrays become its inputs; shipped in bundles as bundle_model.py.

Needs only onnxruntime and numpy. Checksums are verified before the model is loaded.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paretolens.exporters.session_options import session_options

if TYPE_CHECKING:
    from paretolens.exporters.framing import Framing

Arrays = dict[str, np.ndarray]


class PredictError(Exception):
    """A clip, a picture or the bundle cannot be used; the message is one line."""


class BundleModel:
    """The model of one bundle, ready to judge arrays; belongs to one thread.

    Args:
        folder: The bundle.
        threads: Threads of the runtime.

    Raises:
        PredictError: a file of the bundle is missing or was changed.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        import onnxruntime

        self.manifest = read_manifest(folder)
        content = read_model(folder, self.manifest)
        self.session = onnxruntime.InferenceSession(content, session_options(threads), providers=["CPUExecutionProvider"])

    def judge(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """verdict, probability (of the fake class), logit, model_ms, and of a cascade the stage, of one sample's arrays.

        Of a model with classes the probability and the logit are those of the verdict, and `probabilities` has all by name.
        """
        inputs = self.inputs(arrays)
        wanted = [self.manifest["decision"]["output"], *(name for name in self.manifest["model"]["outputs"] if name == "stage")]
        loaded = time.perf_counter()
        scores, *stage = (found.reshape(-1) for found in self.session.run(wanted, inputs))
        model_ms = (time.perf_counter() - loaded) * 1e3
        decided = {"stage": int(stage[0][0])} if stage else {}
        return {**self.decide(scores), "model_ms": round(model_ms, 3), **decided}

    def decide(self, scores: np.ndarray) -> dict[str, Any]:
        """verdict, probability and logit that the raw scores of one sample stand for; raises PredictError on an unknown rule."""
        labels, rule = self.manifest["labels"], self.manifest["decision"].get("rule")
        z = np.asarray(scores, np.float64)
        if rule is None:
            real, fake = labels
            verdict = fake if z[0] > self.manifest["decision"]["threshold"] else real
            return {"verdict": verdict, "probability": float(1.0 / (1.0 + np.exp(-z[0]))), "logit": float(z[0])}
        if rule != "largest":
            raise PredictError(f"manifest.json decides by {rule!r}, which this script does not know: get a newer one")
        best, raised = int(z.argmax()), np.exp(z - z.max())
        share = raised / raised.sum()
        return {
            "verdict": labels[best],
            "probability": float(share[best]),
            "logit": float(z[best] - np.logaddexp.reduce(np.delete(z, best))),
            "probabilities": dict(zip(labels, share.tolist(), strict=True)),
        }

    def inputs(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """One sample's arrays as the model's inputs, a batch of 1."""
        return scale(arrays, self.manifest["model"]["inputs"], self.manifest["preprocessing"]["normaliser"])

    def frame(self, folder: Path, boxes: Path | None) -> "Framing | None":
        """How frames and parts of pictures are chosen; None where the model was trained on even frames and central squares.

        Raises:
            PredictError: as `Framing`, or boxes were given for nothing.
        """
        if "reading" in self.manifest["preprocessing"]:
            from paretolens.exporters.framing import Framing

            return Framing(folder, self.manifest, boxes)
        if boxes is not None:
            raise PredictError(f"this model looks at the central square of a picture, leave --boxes {boxes} out")
        return None

    def logit(self, inputs: Mapping[str, np.ndarray]) -> float:
        """The raw score of one sample, positive = fake."""
        return float(self.session.run([self.manifest["decision"]["output"]], inputs)[0].reshape(-1)[0])


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of a bundle."""
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PredictError(f"{path.name} of the bundle {folder} cannot be read ({error}): get the bundle again") from error
    if manifest.get("format") != 1:
        raise PredictError(f"{path.name} has format {manifest.get('format')}, this script reads format 1: get the bundle again")
    return manifest


def read_model(folder: Path, manifest: Mapping[str, Any]) -> bytes:
    """The model's bytes, checked against the manifest."""
    return read_part(folder, manifest, manifest["model"]["file"])


def read_part(folder: Path, manifest: Mapping[str, Any], name: str) -> bytes:
    """The bytes of a file of the bundle, checked against the manifest."""
    try:
        content: bytes = (folder / name).read_bytes()
    except OSError as error:
        raise PredictError(f"{name} of the bundle {folder} cannot be read ({error.strerror}): get the bundle again") from error
    if hashlib.sha256(content).hexdigest() != manifest["files"][name]["sha256"]:
        raise PredictError(f"{name} does not match its checksum in manifest.json, so it was changed: get the bundle again")
    return content


def scale(arrays: Mapping[str, np.ndarray], specs: list[dict[str, Any]], normaliser: Mapping[str, Any]) -> Arrays:
    """Arrays of one sample as the model's inputs, a batch of 1; positions that a mask hides are 0."""
    inputs: Arrays = {}
    for spec in specs:
        raw = arrays[spec["name"]]
        if spec["kind"] == "mask":
            inputs[spec["name"]] = raw[None]
            continue
        kind = "audio" if spec["kind"] == "audio" else "image"
        mean, std = (np.asarray(normaliser[f"{kind}_{name}"], np.float32) for name in ("mean", "std"))
        if kind == "image":
            mean, std = mean.reshape(3, 1, 1) * np.float32(255.0), std.reshape(3, 1, 1) * np.float32(255.0)
        value = (raw.astype(np.float32) - mean) / std
        if spec["mask"] is not None:
            value[arrays[spec["mask"]]] = 0.0
        inputs[spec["name"]] = value[None]
    return inputs
