import pandas as pd
import pytest
from scipy.special import logit

from paretolens.errors import DataError
from paretolens.search.video_table import video_table


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
    assert found[["faces", "crops", "unread"]].to_numpy().tolist() == [[2, 4, 0], [2, 2, 1], [1, 2, 0]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a/0_0.png": 0.3, "0_0.png": 0.4}, r"0_0\.png lies in none: move it, or leave --videos out"),
        ({"a/0_0.png": 0.3, "b/0_0.png": None}, "b has none: mend its crops"),
        ({"a/0_5.png": 0.3}, "a has none: number its faces from 0"),
    ],
)
def test_videos_that_cannot_be_judged_are_named(rows, message):
    with pytest.raises(DataError, match=message):
        video_table(crops(rows))
