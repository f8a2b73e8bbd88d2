"""From scores of face crops to scores of videos that show several people, as Cross Efficient ViT's authors judge DFDC."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from paretolens.errors import DataError
from paretolens.evaluators.videos import VideoScores, video_scores

__all__ = ["FaceRule", "face_video_scores"]


@dataclass(frozen=True, kw_only=True)
class FaceRule:
    """How the faces of a video are taken together; the values are the published ones (Coccomini et al. 2022)."""

    faces: int = 3
    """At most so many faces of a video count: those with the lowest numbers."""
    decisive: float = 0.55
    """A face whose mean probability of being fake is above this decides for its video."""


def face_video_scores(
    labels: ArrayLike,
    logits: ArrayLike,
    videos: Sequence[Hashable],
    methods: Sequence[str],
    faces: Sequence[int],
    *,
    rule: FaceRule | None = None,
) -> VideoScores:
    """Mean probability per face, then one per video: the first decisive face's, else the mean of the faces'.

    One face that was swapped makes a video fake whoever else is in it; a mean over all crops would hide it.

    Args:
        labels: (N,) 1 = fake, 0 = real; the crops of a video share theirs.
        logits: (N,) raw scores of crops, positive = fake.
        videos: N names of videos.
        methods: N kinds of manipulation, or `real`; with the name they make a video known.
        faces: N numbers of the face within its video, from 0.
        rule: None = the published one.

    Returns:
        One row per video; `frames` counts the crops of the faces that count.

    Raises:
        DataError: no crops, columns of different lengths, a video with both labels, or a video all of whose faces are beyond
            those that count.
        TrialError: a logit is NaN or infinite.
    """
    rule = rule or FaceRule()
    if len(faces) != len(videos):
        raise DataError(f"every crop must have the number of its face, got {len(faces)} numbers for {len(videos)} crops")
    video_scores(labels, logits, videos, methods)  # refuses what it would refuse, before faces are told apart
    truth, scores = np.asarray(labels, dtype=np.float64).reshape(-1), np.asarray(logits, dtype=np.float64).reshape(-1)
    counted = np.array([number < rule.faces for number in faces])
    _require_all(videos, methods, counted)
    rows = [row for row, counts in enumerate(counted) if counts]
    named = [(methods[row], videos[row], int(faces[row])) for row in rows]
    each = video_scores(truth[rows], scores[rows], [key[1:] for key in named], [key[0] for key in named])
    found: dict[tuple[str, Hashable], list[tuple[int, float, int, float]]] = {}
    figures = zip(dict.fromkeys(named), expit(each.logits), each.frames, each.labels, strict=True)
    for (method, video, number), p, count, label in figures:
        found.setdefault((method, video), []).append((number, float(p), int(count), float(label)))
    probabilities = [_joined([p for _, p, _, _ in sorted(entries)], rule.decisive) for entries in found.values()]
    return VideoScores(
        labels=np.array([entries[0][3] for entries in found.values()]),
        logits=logit(np.clip(probabilities, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)),
        keys=tuple(found),
        frames=np.array([sum(count for _, _, count, _ in entries) for entries in found.values()]),
    )


def _joined(probabilities: Sequence[float], decisive: float) -> float:
    return next((p for p in probabilities if p > decisive), float(np.mean(probabilities)))


def _require_all(videos: Sequence[Hashable], methods: Sequence[str], counted: np.ndarray) -> None:
    keys = list(zip(methods, videos, strict=True))
    lost = set(keys) - {key for key, counts in zip(keys, counted, strict=True) if counts}
    if lost:
        method, video = sorted(lost, key=str)[0]
        raise DataError(f"every video must have a face that counts, {video} ({method}) has none: number its faces from 0")
