#!/usr/bin/env python3
"""Tell whether a picture is real or fake, or of which class it is, with the model in this folder.

    python predict.py picture.jpg         one line per picture
    python predict.py pictures/           every picture in a folder and below it
    python predict.py --json picture.jpg  one JSON object per picture
    python predict.py --heatmap maps/ picture.jpg
                                          also a PNG of what each patch says, where the model judges patches
    python predict.py --boxes boxes.json picture.jpg
                                          where the manifest says `crop: boxes`: the parts of the pictures that count

Needs only onnxruntime, numpy and pillow (requirements.txt). A picture is read exactly as the training pictures were; every
constant for that is in manifest.json. The model's checksum is verified before it is loaded. Exit code 2 if a picture or the
bundle cannot be read.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.data.picture_reader import ENDINGS, UnreadablePictureError, read_pixels
from paretolens.exporters.bundle_model import Arrays, BundleModel, PredictError
from paretolens.exporters.heatmap import write_heatmap


class PicturePredictor(BundleModel):
    """The model of one bundle, ready to judge pictures; arguments and errors as `BundleModel` and `Framing`."""

    def __init__(self, folder: Path, *, threads: int = 1, boxes: Path | None = None) -> None:
        super().__init__(folder, threads=threads)
        self.framing = self.frame(folder, boxes)

    def predict(self, path: Path) -> dict[str, Any]:
        """Judge a picture.

        Returns:
            file, verdict, probability (of the fake class), logit, model_ms, total_ms; of a cascade the stage that decided. Of a
            model with classes the probability is that of the verdict, and `probabilities` has all by name.

        Raises:
            PredictError: it is missing or cannot be decoded.
        """
        began = time.perf_counter()
        result = {"file": str(path), **self.judge(self.read(path))}
        return result | {"total_ms": round((time.perf_counter() - began) * 1e3, 3)}

    def read(self, path: Path) -> Arrays:
        """A file as the arrays of one sample; raises as `predict`."""
        geometry, spec = self.manifest["preprocessing"]["picture"], self.manifest["model"]["inputs"][0]
        if not path.is_file():
            raise PredictError(f"a picture must be a file, {path} does not exist: check the path")
        try:
            box = None if self.framing is None else self.framing.box_in(path)
            pixels = read_pixels(path, int(geometry["size"]), str(geometry["fit"]), box)
        except UnreadablePictureError as error:
            raise PredictError(f"a picture must be a file that Pillow decodes, {path} is not ({error}): save it again") from error
        return {spec["name"]: np.ascontiguousarray(pixels[::-1]) if geometry["order"] == "bgr" else pixels}

    def draw(self, path: Path, target: Path) -> None:
        """Draw what each patch of a picture says over it, as a PNG at `target`.

        Raises:
            PredictError: as `predict`; the model has no patches; or the PNG cannot be written.
        """
        field = self.manifest["model"].get("patches")
        if field is None:
            raise PredictError("a heat map needs a model that judges patches, this one does not: leave --heatmap out")
        arrays = self.read(path)
        (pixels,) = arrays.values()
        patches = self.session.run(["patches"], self.inputs(arrays))[0][0]
        order = self.manifest["preprocessing"]["picture"]["order"]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_heatmap(target, pixels[::-1] if order == "bgr" else pixels, patches, field["size"], field["stride"])
        except OSError as error:
            raise PredictError(
                f"heat map {target} cannot be written ({error.strerror or error}): choose another folder"
            ) from error


def pictures_in(path: Path) -> Iterator[Path]:
    """The path itself, or the pictures in a folder and below it in the order of their names."""
    if not path.is_dir():
        yield path
        return
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file())
    if not found:
        raise PredictError(f"a folder must hold pictures ({', '.join(ENDINGS)}), {path} has none: give another")
    yield from found


def main(arguments: list[str] | None = None, folder: Path | None = None, *, prefix: str = "error") -> int:
    """Judge the pictures named on the command line; `folder` is the bundle, this file's own by default."""
    parser = argparse.ArgumentParser(description="Tell whether pictures are real or fake, or of which class.")
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="picture, or folder of pictures")
    parser.add_argument("--json", action="store_true", help="print one JSON object per picture")
    parser.add_argument(
        "--heatmap", type=Path, metavar="FOLDER", help="draw what each patch says over the picture, as PNGs there"
    )
    parser.add_argument("--boxes", type=Path, help="JSON {file: [[seconds, left, top, width, height], …]} of these pictures")
    parser.add_argument("--threads", type=int, default=1, help="threads of the runtime (default 1)")
    parser.set_defaults(prefix=prefix)
    given = parser.parse_args(arguments)
    try:
        predictor = PicturePredictor(folder or Path(__file__).resolve().parent, threads=given.threads, boxes=given.boxes)
        return max([_judge(predictor, path, named, given) for named in given.pictures for path in pictures_in(named)])
    except PredictError as error:
        print(f"{prefix}: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"{prefix}: {error}: install what requirements.txt names (pip install -r requirements.txt)", file=sys.stderr)
        return 2


def _judge(predictor: PicturePredictor, path: Path, named: Path, given: argparse.Namespace) -> int:
    """Print the verdict on one picture, or what is wrong with it; the pictures after it are judged all the same."""
    try:
        result = predictor.predict(path)
        if given.heatmap is not None:
            inner = path.relative_to(named) if named.is_dir() else Path(path.name)
            predictor.draw(path, given.heatmap / inner.with_name(f"{inner.name}.heatmap.png"))
    except PredictError as error:
        print(f"{given.prefix}: {error}", file=sys.stderr)
        return 2
    stage = f"  stage {result['stage']}" if "stage" in result else ""
    shares = result.get("probabilities", {"fake": result["probability"]})
    said = "  ".join(f"p({name}) {share:.3f}" for name, share in shares.items())
    line = f"{result['verdict']}  {said}  {result['model_ms']:.1f} ms{stage}  {path}"
    print(json.dumps(result) if given.json else line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
