"""Verdicts on videos by bundles that judge single pictures: the mean over frames, read as those of a data set of videos are."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.data.clips import OpenClip, open_clip
from paretolens.data.face_finder import WHOLE, Box
from paretolens.data.frame_spread import FrameSpread, spread_over
from paretolens.exporters.predict_pictures_template import PicturePredictor

__all__ = ["judge_video"]

FPS = 8.0
"""Frames a second of a video that does not say how long it is."""


def judge_video(predictor: PicturePredictor, path: Path, *, frames: int = 8) -> dict[str, Any]:
    """Judge a video by the mean probability of its frames.

    Args:
        predictor: A bundle of pictures.
        path: The video.
        frames: How many, at even distances.

    Returns:
        file, verdict, probability (of the fake class; of a model with classes that of the verdict, and `probabilities` has all by
        name), frames, model_ms of all of them, note.

    Raises:
        DataError: it cannot be decoded.
        PredictError: the bundle needs boxes, and has none of this file.
    """
    began = time.perf_counter()
    pictures, note = _pictures(predictor, path, frames)
    spec = predictor.manifest["model"]["inputs"][0]
    found = [predictor.judge({spec["name"]: picture}) for picture in pictures]
    result = {"file": str(path), **_joined(found, predictor.manifest), "frames": len(found)}
    result["model_ms"] = round(sum(one["model_ms"] for one in found), 3)
    return result | {"note": note, "total_ms": round((time.perf_counter() - began) * 1e3, 3)}


def _pictures(predictor: PicturePredictor, path: Path, frames: int) -> tuple[np.ndarray, str]:
    """(n, 3, H, H) uint8 in the model's order of colours, and a note where no face was found."""
    geometry = predictor.manifest["preprocessing"]["picture"]
    with open_clip(path) as clip:
        spread = spread_over(clip, frames, fps=FPS)
        box, note = _box(predictor, path, clip, spread)
        whole = WHOLE if box is None and geometry["fit"] == "stretch" else box
        read = clip.read(spread.geometry(int(geometry["size"])), start=spread.first, box=whole, sound=False)
    shown: np.ndarray = read.arrays["video"][~read.arrays["video_mask"]]
    return (shown[:, ::-1] if geometry["order"] == "bgr" else shown), note


def _box(predictor: PicturePredictor, path: Path, clip: OpenClip, spread: FrameSpread) -> tuple[Box | None, str]:
    if predictor.framing is None:
        return None, ""
    return predictor.framing.box_of(path, clip.stills, 0.0, spread.step * spread.count)


def _joined(found: list[dict[str, Any]], manifest: dict[str, Any]) -> dict[str, Any]:
    """Verdict and probability of the mean."""
    labels = manifest["labels"]
    if "rule" in manifest["decision"]:
        share = {name: float(np.mean([one["probabilities"][name] for one in found])) for name in labels}
        best = max(labels, key=share.__getitem__)
        return {"verdict": best, "probability": share[best], "probabilities": share}
    mean = float(np.mean([one["probability"] for one in found]))
    threshold = 1.0 / (1.0 + np.exp(-float(manifest["decision"]["threshold"])))
    return {"verdict": labels[int(mean > threshold)], "probability": mean}
