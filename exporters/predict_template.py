#!/usr/bin/env python3
"""Tell whether a video clip is real or fake, with the model in this folder.

    python predict.py clip.mp4            one line per clip
    python predict.py --json clip.mp4     one JSON object per clip
    python predict.py frames/             a folder of pictures, in the order of their numbers; a .wav in it is their sound
    python predict.py voice.wav           sound alone
    python predict.py --boxes boxes.json clip.mp4
                                          where the manifest says `crop: boxes`: the parts of the pictures that count

Needs only what requirements.txt names: onnxruntime, numpy and av, and pillow where faces are cut out. The clip is read exactly as
the training clips were; every constant for that is in manifest.json. What a clip lacks (sound, picture) is masked, and that is
said. The model's checksum is verified before it is loaded. Exit code 2 if a clip or the bundle cannot be read.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.exporters.bundle_model import Arrays, BundleModel, PredictError
from paretolens.exporters.clip_reader import read_clip

BLIND = "this model then says the same of every clip"
"""In the note of a verdict on a clip that lacks what the model goes by."""


class Predictor(BundleModel):
    """The model of one bundle, ready to judge clips; arguments and errors as `BundleModel` and `Framing`."""

    def __init__(self, folder: Path, *, threads: int = 1, boxes: Path | None = None) -> None:
        super().__init__(folder, threads=threads)
        self.framing = self.frame(folder, boxes)
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
        arrays, seconds, note = self.read(path, start=start, fps=fps)
        result = {"file": str(path), **self.judge(arrays), "seconds": seconds, "note": self.caution(arrays, note)}
        return result | {"total_ms": round((time.perf_counter() - began) * 1e3, 3)}

    def read(self, path: Path, *, start: float = 0.0, fps: float | None = None) -> tuple[Arrays, float, str]:
        """A file as the arrays of one sample, its length in seconds, and what is missing; raises as `predict`."""
        return read_clip(path, self.clip, start=start, fps=fps, framing=self.framing)

    def caution(self, arrays: Mapping[str, np.ndarray], note: str) -> str:
        """`note`, and a warning if the verdict is the same for all that is left: some models fuse by what is now masked."""
        hidden = next((name for name in ("audio_mask", "video_mask") if arrays[name].all()), "")
        if hidden and hidden not in self._blind:
            generator = np.random.default_rng(0)
            shown = {name: np.zeros_like(value) for name, value in arrays.items()} | {hidden: arrays[hidden]}
            pair = [shown | {n: shown[n] + generator.integers(0, 99, shown[n].shape) for n in ("video", "audio")} for _ in "ab"]
            first, second = (self.logit(self.inputs(one)) for one in pair)
            self._blind[hidden] = abs(first - second) < 1e-6
        if not hidden or not self._blind[hidden]:
            return note
        return f"{note}; {BLIND}: do not use this verdict"


def main(arguments: list[str] | None = None, folder: Path | None = None, *, prefix: str = "error") -> int:
    """Judge the clips named on the command line; `folder` is the bundle, this file's own by default."""
    parser = argparse.ArgumentParser(description="Tell whether video clips are real or fake.")
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="video, folder of pictures, or sound")
    parser.add_argument("--json", action="store_true", help="print one JSON object per clip")
    parser.add_argument("--start", type=float, default=0.0, help="second of the clip at which to look (default 0)")
    parser.add_argument(
        "--fps", type=float, help="pictures a second in a folder (default: as many as the model looks at, or chooses from)"
    )
    parser.add_argument("--boxes", type=Path, help="JSON {file: [[seconds, left, top, width, height], …]} of these clips")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (default 1)")
    parser.set_defaults(prefix=prefix)
    given = parser.parse_args(arguments)
    try:
        predictor = Predictor(folder or Path(__file__).resolve().parent, threads=given.threads, boxes=given.boxes)
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
