"""From scores of face crops to scores of videos that show several people, as Cross Efficient ViT's authors judge DFDC."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from paretolens.errors import DataError
from paretolens.evaluators.videos import VideoScores, video_scores

__all__ = ["FaceRule", "JoinedFaces", "counting", "face_video_scores", "join_faces"]


@dataclass(frozen=True, kw_only=True)
class FaceRule:
    """How the faces of a video are taken together; the values are the published ones (Coccomini et al. 2022)."""

    faces: int = 3
    """So many faces of a video count: those numbered from 0 to one less. A face of another number is left out."""
    decisive: float = 0.55
    """A face whose mean probability of being fake is above this decides for its video."""


@dataclass(frozen=True, kw_only=True)
class JoinedFaces:
    """One row per video, in the order in which they first appear."""

    videos: tuple[Hashable, ...]
    """Names."""
    probability: NDArray[np.float64]
    """(V,) of being fake."""
    faces: NDArray[np.int64]
    """(V,) faces that count."""
    crops: NDArray[np.int64]
    """(V,) crops of those faces."""


def counting(videos: Sequence[Hashable], faces: Sequence[int], *, rule: FaceRule | None = None) -> NDArray[np.bool_]:
    """(N,) whether a crop shows a face that counts.

    Args:
        videos: N names of videos.
        faces: N numbers of the face within its video, from 0.
        rule: None = the published one.

    Raises:
        DataError: columns of different lengths, or a video none of whose faces counts.
    """
    if len(faces) != len(videos):
        raise DataError(f"every crop must have the number of its face, got {len(faces)} numbers for {len(videos)} crops")
    found = np.array([number < (rule or FaceRule()).faces for number in faces], dtype=bool)
    lost = set(videos) - {video for video, counts in zip(videos, found, strict=True) if counts}
    if lost:
        raise DataError(f"every video must have a face that counts, {min(lost, key=str)} has none: number its faces from 0")
    return found


def join_faces(
    logits: ArrayLike, videos: Sequence[Hashable], faces: Sequence[int], *, rule: FaceRule | None = None
) -> JoinedFaces:
    """Mean probability per face, then one per video: the first decisive face's, else the mean of the faces'.

    One face that was swapped makes a video fake whoever else is in it; a mean over all crops would hide it.

    Args:
        logits: (N,) raw scores of crops, positive = fake.
        videos: N names of videos.
        faces: N numbers of the face within its video, from 0.
        rule: None = the published one.

    Raises:
        DataError: no crops, columns of different lengths, or a video all of whose faces are beyond those that count.
        TrialError: a logit is NaN or infinite.
    """
    rule = rule or FaceRule()
    counted = counting(videos, faces, rule=rule)
    scores = np.asarray(logits, dtype=np.float64).reshape(-1)
    real = np.zeros(len(videos))  # video_scores keeps labels apart, of which there are none here
    video_scores(real, scores, videos, [""] * len(videos))  # refuses what it would refuse, before faces are told apart
    rows = np.flatnonzero(counted).tolist()
    names = tuple(dict.fromkeys(videos))
    each = video_scores(real[rows], scores[rows], [(videos[row], int(faces[row])) for row in rows], [""] * len(rows))
    found: dict[Hashable, list[tuple[int, float, int]]] = {name: [] for name in names}
    for (_, key), p, count in zip(each.keys, expit(each.logits), each.frames, strict=True):
        assert isinstance(key, tuple)
        found[key[0]].append((key[1], float(p), int(count)))
    return JoinedFaces(
        videos=names,
        probability=np.array([_joined([p for _, p, _ in sorted(parts)], rule.decisive) for parts in found.values()]),
        faces=np.array([len(parts) for parts in found.values()]),
        crops=np.array([sum(count for _, _, count in parts) for parts in found.values()]),
    )


def face_video_scores(
    labels: ArrayLike,
    logits: ArrayLike,
    videos: Sequence[Hashable],
    methods: Sequence[str],
    faces: Sequence[int],
    *,
    rule: FaceRule | None = None,
) -> VideoScores:
    """`join_faces` of videos whose labels are known.

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
        DataError: as `join_faces`, or a video with both labels.
        TrialError: a logit is NaN or infinite.
    """
    known = video_scores(labels, logits, videos, methods)
    joined = join_faces(logits, list(zip(methods, videos, strict=True)), faces, rule=rule)
    tiny = np.finfo(np.float64).eps
    return VideoScores(
        labels=known.labels,
        logits=logit(np.clip(joined.probability, tiny, 1 - tiny)),
        keys=known.keys,
        frames=joined.crops,
    )


def _joined(probabilities: Sequence[float], decisive: float) -> float:
    return next((p for p in probabilities if p > decisive), float(np.mean(probabilities)))
