#!/usr/bin/env python3
"""Tell whether a video clip is real or fake, with the model in this folder.

    python predict.py clip.mp4            one line per clip
    python predict.py --json clip.mp4     one JSON object per clip
    python predict.py frames/             a folder of pictures, in the order of their numbers; a .wav in it is their sound
    python predict.py voice.wav           sound alone

Needs only onnxruntime, numpy and av (requirements.txt). The clip is read exactly as the training clips were; every constant for
that is in manifest.json. What a clip lacks (sound, picture) is masked, and that is said. The model's checksum is verified before
it is loaded. Exit code 2 if a clip or the bundle cannot be read.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.exporters.clip_reader import Arrays, PredictError, read_clip
from paretolens.exporters.session_options import session_options

BLIND = "this model then says the same of every clip"
"""In the note of a verdict on a clip that lacks what the model goes by."""


class Predictor:
    """The model of one bundle, ready to judge clips; belongs to one thread.

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
        self.clip: Mapping[str, Any] = self.manifest["preprocessing"]["clip"]
        self._blind: dict[str, bool] = {}

    def predict(self, path: Path, *, start: float = 0.0, fps: float | None = None) -> dict[str, Any]:
        """Judge the window of a clip, or of a folder of pictures taken at `fps`, that begins at `start` seconds.

        Returns:
            file, verdict, probability (of the fake class), logit, model_ms, total_ms, seconds (length judged), note.

        Raises:
            PredictError: the clip is missing or cannot be decoded.
        """
        began = time.perf_counter()
        arrays, seconds, note = read_clip(path, self.clip, start=start, fps=fps)
        result = {"file": str(path), **self.judge(arrays), "seconds": seconds, "note": self.caution(arrays, note)}
        return result | {"total_ms": round((time.perf_counter() - began) * 1e3, 3)}

    def judge(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """verdict, probability, logit and model_ms of arrays as `assemble` gives them."""
        inputs = scale(arrays, self.manifest["model"]["inputs"], self.manifest["preprocessing"]["normaliser"])
        loaded = time.perf_counter()
        logit = self._logit(inputs)
        model_ms = (time.perf_counter() - loaded) * 1e3
        real, fake = self.manifest["labels"]
        return {
            "verdict": fake if logit > self.manifest["decision"]["threshold"] else real,
            "probability": float(1.0 / (1.0 + np.exp(-np.float64(logit)))),
            "logit": logit,
            "model_ms": round(model_ms, 3),
        }

    def caution(self, arrays: Mapping[str, np.ndarray], note: str) -> str:
        """`note`, and a warning if the verdict is the same for all that is left: some models fuse by what is now masked."""
        hidden = next((name for name in ("audio_mask", "video_mask") if arrays[name].all()), "")
        if hidden and hidden not in self._blind:
            generator = np.random.default_rng(0)
            shown = {name: np.zeros_like(value) for name, value in arrays.items()} | {hidden: arrays[hidden]}
            pair = [shown | {n: shown[n] + generator.integers(0, 99, shown[n].shape) for n in ("video", "audio")} for _ in "ab"]
            specs, scales = self.manifest["model"]["inputs"], self.manifest["preprocessing"]["normaliser"]
            first, second = (self._logit(scale(one, specs, scales)) for one in pair)
            self._blind[hidden] = abs(first - second) < 1e-6
        if not hidden or not self._blind[hidden]:
            return note
        return f"{note}; {BLIND}: do not use this verdict"

    def _logit(self, inputs: Arrays) -> float:
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
    name = manifest["model"]["file"]
    try:
        content: bytes = (folder / name).read_bytes()
    except OSError as error:
        raise PredictError(f"{name} of the bundle {folder} cannot be read ({error.strerror}): get the bundle again") from error
    if hashlib.sha256(content).hexdigest() != manifest["files"][name]["sha256"]:
        raise PredictError(f"{name} does not match its checksum in manifest.json, so it was changed: get the bundle again")
    return content


def scale(arrays: Mapping[str, np.ndarray], specs: list[dict[str, Any]], normaliser: Mapping[str, Any]) -> Arrays:
    """Arrays of one clip as the model's inputs, a batch of 1; positions that a mask hides are 0."""
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


def main(arguments: list[str] | None = None, folder: Path | None = None, *, prefix: str = "error") -> int:
    """Judge the clips named on the command line; `folder` is the bundle, this file's own by default."""
    parser = argparse.ArgumentParser(description="Tell whether video clips are real or fake.")
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="video, folder of pictures, or sound")
    parser.add_argument("--json", action="store_true", help="print one JSON object per clip")
    parser.add_argument("--start", type=float, default=0.0, help="second of the clip at which to look (default 0)")
    parser.add_argument("--fps", type=float, help="pictures a second in a folder (default: as many as the model looks at)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (default 1)")
    parser.set_defaults(prefix=prefix)
    given = parser.parse_args(arguments)
    try:
        predictor = Predictor(folder or Path(__file__).resolve().parent, threads=given.threads)
        return max([_judge(predictor, path, given) for path in given.clips])
    except PredictError as error:
        print(f"{prefix}: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"{prefix}: {error}: install what requirements.txt names (pip install -r requirements.txt)", file=sys.stderr)
        return 2


def _judge(predictor: Predictor, path: Path, given: argparse.Namespace) -> int:
    """Print the verdict on one clip, or what is wrong with it; the clips after it are judged all the same."""
    try:
        result = predictor.predict(path, start=given.start, fps=given.fps)
    except PredictError as error:
        print(f"{given.prefix}: {error}", file=sys.stderr)
        return 2
    note = f"  ({result['note']})" if result["note"] else ""
    line = f"{result['verdict']}  p(fake) {result['probability']:.3f}  {result['model_ms']:.1f} ms  {path}{note}"
    print(json.dumps(result) if given.json else line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
