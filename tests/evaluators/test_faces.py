import numpy as np
import pytest
from scipy.special import expit, logit

from paretolens.errors import DataError, TrialError
from paretolens.evaluators.faces import FaceRule, face_video_scores, join_faces

# video a: faces 0 and 1; b: one face; c: faces 0, 1 and 3
VIDEOS = ["a", "a", "a", "a", "b", "b", "c", "c", "c"]
FACES = [0, 0, 1, 1, 0, 0, 1, 0, 3]
LABELS = [1, 1, 1, 1, 0, 0, 0, 0, 0]
P = [0.1, 0.2, 0.9, 0.6, 0.3, 0.7, 0.54, 0.2, 0.99]
METHODS = ["swap" if label else "real" for label in LABELS]


def test_a_decisive_face_decides_and_else_the_faces_are_averaged():
    found = face_video_scores(LABELS, logit(P), VIDEOS, METHODS, FACES)
    assert found.keys == (("swap", "a"), ("real", "b"), ("real", "c"))
    assert expit(found.logits) == pytest.approx([0.75, 0.5, (0.54 + 0.2) / 2])
    assert found.labels.tolist() == [1, 0, 0]
    assert found.frames.tolist() == [4, 2, 2]


def test_the_first_decisive_face_counts_not_the_most_suspicious():
    found = face_video_scores([1, 1, 1], logit([0.99, 0.6, 0.2]), ["v"] * 3, ["swap"] * 3, [2, 1, 0])
    assert expit(found.logits) == pytest.approx([0.6])


def test_the_rule_can_be_changed():
    everyone = face_video_scores(LABELS, logit(P), VIDEOS, METHODS, FACES, rule=FaceRule(faces=9, decisive=1.0))
    assert expit(everyone.logits) == pytest.approx([np.mean([0.15, 0.75]), 0.5, np.mean([0.2, 0.54, 0.99])])


def test_videos_without_labels_are_joined_alike():
    found = join_faces(logit(P), VIDEOS, FACES)
    assert found.videos == ("a", "b", "c")
    assert found.probability == pytest.approx(expit(face_video_scores(LABELS, logit(P), VIDEOS, METHODS, FACES).logits))
    assert (found.faces.tolist(), found.crops.tolist()) == ([2, 1, 2], [4, 2, 2])


def test_certain_faces_stay_finite():
    found = face_video_scores([1], [800.0], ["v"], ["swap"], [0])
    assert np.isfinite(found.logits).all() and found.logits[0] > 30


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match=r"v.* has none: number its faces from 0"):
        face_video_scores([1], [0.3], ["v"], ["swap"], [3])
    with pytest.raises(DataError, match="got 1 numbers for 2 crops"):
        face_video_scores([1, 1], [0.3, 0.2], ["v", "v"], ["swap"] * 2, [0])
    with pytest.raises(DataError, match="share its label"):
        face_video_scores([1, 0], [0.3, 0.2], ["v", "v"], ["swap"] * 2, [0, 0])
    with pytest.raises(TrialError, match="finite"):
        face_video_scores([1], [np.nan], ["v"], ["swap"], [0])
