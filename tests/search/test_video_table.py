import pandas as pd
import pytest
from scipy.special import logit

from paretolens.errors import DataError
from paretolens.search.video_table import require_video_folders, video_table


def crops(rows: dict[str, float | None]) -> pd.DataFrame:
    """A table of crops by P(fake); None = could not be read."""
    plain = [
        {"clip": name, "logit": None if p is None else logit(p), "error": "torn" if p is None else ""} for name, p in rows.items()
    ]
    return pd.DataFrame(plain)


def test_videos_are_judged_by_their_faces():
    rows = {
        "b/0_0.png": 0.1, "b/10_0.png": 0.2, "b/0_1.png": 0.9, "b/10_1.png": 0.7,  # face 1 is decisive
        "a/x/0_0.png": 0.3, "a/x/0_1.png": 0.5, "a/x/0_7.png": 0.99, "a/x/5_1.png": None,  # face 7 is one too many
        "c/still.png": 0.4, "c/other.png": 0.2,  # no number: one face
    }  # fmt: skip
    found = video_table(crops(rows)).set_index("video")
    assert list(found.index) == ["b", "a/x", "c"]
    assert found["probability"].tolist() == pytest.approx([0.8, 0.4, 0.3])
    assert found["verdict"].tolist() == ["fake", "real", "real"]
    counts = found[["faces", "crops", "left_out", "unread"]]
    assert counts.to_numpy().tolist() == [[2, 4, 0, 0], [2, 2, 1, 1], [1, 2, 0, 0]]


@pytest.mark.parametrize("name", ["frame_000{}.png", "clip_{}.png", "00{}.png", "a_b_{}.png", "x12y_{}.png"])
def test_the_number_of_a_frame_is_no_face(name: str):
    found = video_table(crops({f"v/{name.format(frame)}": 0.05 if frame < 3 else 0.99 for frame in range(6)}))
    (video,) = found.to_dict("records")
    assert (video["verdict"], video["faces"], video["crops"], video["left_out"]) == ("fake", 1, 6, 0)
    assert video["probability"] == pytest.approx((0.05 + 0.99) / 2)


@pytest.mark.parametrize("name", ["{0}_{1}.png", "000{0}_{1}.png", "clip_000{0}_{1}.png", "x12 {0}_0{1}.png"])
def test_two_numbers_are_those_of_frame_and_face(name: str):
    found = video_table(crops({f"v/{name.format(frame, face)}": (0.1, 0.9)[face] for frame in range(3) for face in range(2)}))
    assert found[["verdict", "faces", "crops"]].to_numpy().tolist() == [["fake", 2, 6]]
    assert found["probability"].tolist() == pytest.approx([0.9])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a/0_0.png": 0.3, "0_0.png": 0.4}, r"0_0\.png lies in none: move it, or leave --videos out"),
        ({"a/0_0.png": 0.3, "b/0_0.png": None}, "b has none: mend its crops"),
        ({"a/0_5.png": 0.3}, "a has none: number its faces from 0"),
        ({"a/0_0.png": None, "a/0_5.png": 0.3}, "a has none: mend its crops"),
    ],
)
def test_videos_that_cannot_be_judged_are_named(rows, message):
    with pytest.raises(DataError, match=message):
        video_table(crops(rows))
    if None not in rows.values():  # all but what cannot be read is known of the names
        with pytest.raises(DataError, match=message):
            require_video_folders(list(rows))


def test_names_that_are_in_order_pass():
    require_video_folders(["a/0_0.png", "a/0_7.png", "b/c/frame_12.png"])
