"""From scores of frames to scores of videos: the mean probability of a video's frames, as the field reports video AUC."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paretolens.errors import DataError, TrialError
from paretolens.evaluators.accuracy import classification_metrics

if TYPE_CHECKING:
    from paretolens.data.samples import SampleSet

__all__ = ["VideoScores", "split_videos", "video_scores"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class VideoScores:
    """One row per video, in the order in which they first appear; hand `labels` and `logits` to `classification_metrics`."""

    labels: Floats
    """(V,) 1 = fake, 0 = real."""
    logits: Floats
    """(V,) log-odds of the mean probability: above 0 where the mean is above one half."""
    keys: tuple[tuple[str, Hashable], ...]
    """(method, video) of each row."""
    frames: NDArray[np.int64]
    """(V,) how many frames each mean was taken over."""


def video_scores(labels: ArrayLike, logits: ArrayLike, videos: Sequence[Hashable], methods: Sequence[str]) -> VideoScores:
    """Mean probability of the frames of each video.

    A video is known by its method and its name together: several methods make a fake of the same target, and the files share
    their name.

    Args:
        labels: (N,) 1 = fake, 0 = real; the frames of a video share theirs.
        logits: (N,) raw scores of frames, positive = fake.
        videos: N names of videos.
        methods: N kinds of manipulation, or `real`.

    Raises:
        DataError: no frames, columns of different lengths, or a video whose frames have both labels.
        TrialError: a logit is NaN or infinite.
    """
    from scipy.special import expit

    truth = np.asarray(labels, dtype=np.float64).reshape(-1)
    scores = np.asarray(logits, dtype=np.float64).reshape(-1)
    if not 0 < len(truth) == len(scores) == len(videos) == len(methods):
        lengths = [len(truth), len(scores), len(videos), len(methods)]
        raise DataError(f"labels, logits, videos and methods must be as many and not none, got {lengths}")
    if not np.isfinite(scores).all():
        raise TrialError("the logits of frames must be finite, some are not: the model diverged")
    keys = list(zip(methods, videos, strict=True))
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    rows = np.array([places[key] for key in keys])
    frames = np.bincount(rows)
    fakes = np.bincount(rows, weights=truth)
    mixed = np.flatnonzero((fakes > 0) & (fakes < frames))
    if len(mixed):
        method, video = list(places)[mixed[0]]
        raise DataError(f"all frames of a video share its label, those of {video} ({method}) do not: mend the labels")
    mean = np.bincount(rows, weights=expit(scores)) / frames
    return VideoScores(labels=fakes / frames, logits=_log_odds(mean), keys=tuple(places), frames=frames)


def split_videos(samples: "SampleSet", logits: ArrayLike) -> dict[str, float]:
    """`video_auc`, `video_accuracy`, … of a split, each video judged by the mean of its samples.

    A video is fake if any of its samples is: of one with a manipulated period, frames or windows outside of it are real. Empty
    where no video gave several samples, where all videos are of one class, or where there are more than two classes.
    """
    videos = samples.videos
    if videos is None or samples.signature.classes:
        return {}
    fakes = np.bincount(videos, weights=samples.labels)
    found = video_scores(fakes[videos] > 0, logits, videos.tolist(), [""] * len(videos))
    if len(set(found.labels.tolist())) < 2:
        return {}
    return {f"video_{name}": value for name, value in classification_metrics(found.labels, found.logits).to_metrics().items()}


def _log_odds(probability: Floats) -> Floats:
    from scipy.special import logit

    tiny = np.finfo(np.float64).eps
    odds: Floats = logit(np.clip(probability, tiny, 1 - tiny))
    return odds
