from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from paretolens.errors import DataError, TrialError
from paretolens.evaluators.accuracy import classification_metrics
from paretolens.evaluators.videos import split_videos, video_scores


def test_videos_of_two_methods_stay_apart() -> None:
    labels = [1, 1, 1, 0, 0, 0]
    logits = np.log(np.array([0.8, 0.6, 0.3, 0.2, 0.4, 0.9]) / (1 - np.array([0.8, 0.6, 0.3, 0.2, 0.4, 0.9])))
    videos = ["000", "000", "000", "000", "000", "001"]
    methods = ["swap", "swap", "reenact", "real", "real", "real"]
    found = video_scores(labels, logits, videos, methods)
    assert found.keys == (("swap", "000"), ("reenact", "000"), ("real", "000"), ("real", "001"))
    assert found.frames.tolist() == [2, 1, 2, 1]
    assert found.labels.tolist() == [1, 1, 0, 0]
    assert 1 / (1 + np.exp(-found.logits)) == pytest.approx([0.7, 0.3, 0.3, 0.9])
    metrics = classification_metrics(found.labels, found.logits)
    assert metrics.auc == pytest.approx(1.5 / 4)  # of 4 pairs one is right and one a tie
    assert metrics.accuracy == pytest.approx(2 / 4)


def test_auc_of_videos_against_sklearn() -> None:
    generator = np.random.default_rng(0)
    videos = generator.integers(0, 40, 300)
    labels = (videos % 2).astype(float)
    logits = generator.normal(size=300) + 0.5 * labels
    found = video_scores(labels, logits, videos.tolist(), ["any"] * 300)
    means = [np.mean(1 / (1 + np.exp(-logits[videos == video]))) for _, video in found.keys]
    assert classification_metrics(found.labels, found.logits).auc == pytest.approx(roc_auc_score(found.labels, means))


def test_wrong_input_is_named() -> None:
    with pytest.raises(DataError, match="those of 7 \\(swap\\) do not"):
        video_scores([1, 0], [0.0, 0.0], [7, 7], ["swap", "swap"])
    with pytest.raises(DataError, match=r"got \[1, 2, 1, 1\]"):
        video_scores([1], [0.0, 0.0], [7], ["swap"])
    with pytest.raises(TrialError, match="finite"):
        video_scores([1], [np.inf], [7], ["swap"])


def split_of(labels: list[int], videos: list[int] | None, *, classes: tuple[str, ...] = ()) -> Any:
    kinds = tuple("swap" if label else "real" for label in labels)
    found = None if videos is None else np.array(videos)
    return SimpleNamespace(
        labels=np.array(labels, np.float32), kinds=kinds, videos=found, signature=SimpleNamespace(classes=classes)
    )


def test_a_split_is_judged_by_its_videos() -> None:
    # mean P(fake): two fakes at .73 and .02, two real videos at .31 and .02, so that a pair of the four ties and one is wrong
    logits = [4.0, 3.0, -1.0, -4.0, 2.0, -4.0, -4.0, -4.0]
    figures = split_videos(split_of([1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 5, 2, 2, 2, 3]), logits)
    assert figures["video_auc"] == pytest.approx(2.5 / 4)
    assert figures["video_accuracy"] == pytest.approx(3 / 4)


def test_a_video_is_fake_if_a_part_of_it_is() -> None:
    figures = split_videos(split_of([0, 1, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2]), [-1.0, 4.0, -3.0, -3.0, 2.0, 2.0])
    assert figures["video_accuracy"] == pytest.approx(1.0)  # mean P(fake): fakes at .63 and .88, a real video at .05
    assert figures["video_auc"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "split",
    [
        split_of([1, 0, 1, 0], None),
        split_of([1, 0, 1, 0], [0, 0, 1, 1]),  # two fakes, with a real part each
        split_of([1, 1, 1, 1], [0, 0, 1, 1]),
        split_of([1, 1, 0, 2], [0, 0, 1, 2], classes=("real", "swap", "lips")),
    ],
)
def test_some_splits_have_no_figures_of_videos(split: Any) -> None:
    assert split_videos(split, [1.0, -1.0, 0.5, 0.0]) == {}
