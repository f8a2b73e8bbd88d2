import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from paretolens.errors import StoreError
from paretolens.mlflow.front import Front, rank_trials
from paretolens.mlflow.page import draw_html, front_page


def test_every_trial_can_be_hovered(drawn: Front) -> None:
    figure = front_page(drawn)
    shown = [trace for trace in figure.data if trace.xaxis == "x2" and trace.mode == "markers"]
    count = {trace.name: len(trace.x) for trace in shown}
    assert count["on the front"] + count["on the front by another objective"] == len(drawn.members)
    assert count["knee"] == count["teacher"] == 1
    texts = [text for trace in shown if trace.name != "teacher" for text in trace.hovertext]
    assert all("width = " in text and "EPS: " in text for text in texts)
    front_trace = next(trace for trace in shown if trace.name == "on the front")
    np.testing.assert_allclose(front_trace.error_y.array, 0.03)
    assert figure.layout.xaxis.type == "log"
    assert [shape.y0 for shape in figure.layout.shapes] == [0.11, 0.83]


def test_the_page_needs_no_network_and_no_knob_becomes_code(drawn: Front, tmp_path: Path) -> None:
    page = draw_html(drawn, tmp_path / "front.html").read_text()
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?([^\"'> ]+)", page[:2000] + page[-400_000:])
    assert [address for address in loaded if "//" in address] == []
    assert "<script>alert(1)</script>" not in page
    assert "alert(1)" in page


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_anything_to_draw(trials: Callable[..., pd.DataFrame], count: int) -> None:
    assert len(front_page(rank_trials(trials(5).iloc[:count])).data) > 0


def test_a_place_that_can_not_be_written(drawn: Front) -> None:
    with pytest.raises(StoreError, match="can't be written"):
        draw_html(drawn, Path("/proc/front.html"))
