"""A video is judged by the frames that a data set of videos would have given."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from paretolens.data.pipeline.decode import Decoder, samples_of
from paretolens.data.pipeline.settings import FolderSettings, Take
from paretolens.data.preprocessing import Fit
from paretolens.data.readers.listing import Item
from paretolens.errors import DataError
from paretolens.exporters.frames import judge_video


class Spy:
    """In place of a bundle of pictures: keeps what it is shown and answers with the probabilities that it was given."""

    def __init__(self, answers: list[float], *, fit: str = "crop", order: str = "rgb", classes: tuple[str, ...] = ()) -> None:
        self.answers, self.seen, self.framing = answers, list[np.ndarray](), None
        decision = {"rule": "largest"} if classes else {"threshold": 0.0}
        self.manifest = {
            "preprocessing": {"picture": {"size": 32, "fit": fit, "order": order}},
            "model": {"inputs": [{"name": "image"}]},
            "labels": list(classes or ("real", "fake")),
            "decision": decision,
        }

    def judge(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        self.seen.append(arrays["image"])
        p = self.answers[len(self.seen) - 1]
        shares = dict(zip(self.manifest["labels"], (1 - p, p), strict=True))
        return {"probability": p, "probabilities": shares, "model_ms": 2.0}


def judged(spy: Spy, path: Path, frames: int) -> dict[str, Any]:
    predictor: Any = spy
    return judge_video(predictor, path, frames=frames)


@pytest.mark.parametrize(("fit", "order"), [(Fit.CROP, "rgb"), (Fit.STRETCH, "bgr")])
def test_the_frames_are_those_of_training(clips: Mapping[str, Path], fit: Fit, order: str) -> None:
    for path in clips.values():
        settings = FolderSettings(path=path.parent, take=Take.PICTURES, size=32, per_video=3, fit=fit)
        wanted = list(samples_of(Item(file=path.name, fake=False), Decoder(root=path.parent, settings=settings)))
        spy = Spy([0.9, 0.2, 0.7], fit=str(fit), order=order)
        found = judged(spy, path, 3)
        pixels = np.stack([sample.arrays["input_image"] for sample in wanted])
        np.testing.assert_array_equal(np.stack(spy.seen), pixels[:, ::-1] if order == "bgr" else pixels)
        assert found["frames"] == len(wanted)


def test_the_mean_probability_decides(clips: Mapping[str, Path]) -> None:
    path = clips["usual"]
    assert judged(Spy([0.9, 0.2, 0.7]), path, 3) | {"total_ms": 0} == {
        "file": str(path), "verdict": "fake", "probability": pytest.approx(0.6), "frames": 3, "model_ms": 6.0, "note": "",
        "total_ms": 0,
    }  # fmt: skip
    assert judged(Spy([0.9, 0.2, 0.3]), path, 3)["verdict"] == "real"
    named = judged(Spy([0.9, 0.2, 0.3], classes=("real", "swap")), path, 3)
    assert (named["verdict"], named["probability"]) == ("real", pytest.approx(1.6 / 3))
    assert named["probabilities"]["swap"] == pytest.approx(1.4 / 3)


def test_the_face_is_looked_for_as_in_training(clips: Mapping[str, Path]) -> None:
    asked = []

    def box_of(path: Path, stills: Any, start: float, seconds: float) -> tuple[None, str]:
        asked.append((path, len(stills([start, seconds / 2])), start))
        return None, "no face was found: the central square is judged"

    spy: Any = Spy([0.5] * 3)
    spy.framing = SimpleNamespace(box_of=box_of)
    assert "no face" in judge_video(spy, clips["usual"], frames=3)["note"]
    assert asked == [(clips["usual"], 2, 0.0)]


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a\.mp4"):
        judged(Spy([]), tmp_path / "a.mp4", 3)
