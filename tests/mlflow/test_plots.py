from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from paretolens.errors import StoreError
from paretolens.mlflow.chart import Colour
from paretolens.mlflow.front import Front, rank_trials
from paretolens.mlflow.plots import draw_png, front_figure


def test_what_is_drawn(drawn: Front) -> None:
    left, right = front_figure(drawn).axes
    assert left.get_xscale() == right.get_xscale() == "log"
    assert (left.get_xlabel(), left.get_ylabel()) == ("Latency (ms, log scale)", "Accuracy (%)")
    knee = drawn.knee
    assert knee is not None
    labels = {text.get_text() for text in right.texts}
    assert {"untrained students (floor)", "retrained teacher"} <= labels
    assert any(text.startswith(f"{knee['trial']}: ") for text in labels)
    points = {item.get_label(): len(item.get_offsets()) for item in left.collections if not item.get_label().startswith("_")}
    assert points["on the front"] + points["on the front by another objective"] == len(drawn.members)
    assert points["dominated"] == len(drawn.trials) - len(drawn.members)
    assert points["knee"] == points["teacher"] == 1


def test_lines_where_eps_lies_across(drawn: Front) -> None:
    table = drawn.trials.drop(columns=["rank", "crowding", "pareto", "knee", "tied_with"])
    (axes,) = front_figure(replace(rank_trials(table, {"accuracy": "max", "eps": "max"}), study=drawn.study)).axes
    upright = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    assert sorted(upright) == [0.11, 0.83]
    assert {"untrained students (floor)", "retrained teacher"} <= {text.get_text() for text in axes.texts}


@pytest.mark.parametrize(("x", "way", "style"), [("latency_ms", "min", "steps-post"), ("accuracy", "max", "steps-pre")])
def test_stairs_go_the_way_of_the_objective(drawn: Front, x: str, way: str, style: str) -> None:
    figure = front_figure(rank_trials(drawn.trials, {x: way, "eps": "max"}))
    (panel,) = [axes for axes in figure.axes if axes.lines]
    assert style in {line.get_drawstyle() for line in panel.lines}


def test_labels_do_not_cross(trials: Callable[..., pd.DataFrame]) -> None:
    figure = front_figure(rank_trials(trials(12, 3)))
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        crossed = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
        assert len(boxes) >= 5
        assert crossed == []


def test_the_file_shows_every_mark(drawn: Front, tmp_path: Path) -> None:
    path = draw_png(drawn, tmp_path / "new" / "front.png")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert pixels.shape[1] > 1500
    for colour in (Colour.FRONT, Colour.KNEE, Colour.TEACHER, Colour.FLOOR, Colour.REFERENCE):
        near = np.abs(pixels - np.array(to_rgb(colour)) * 255).max(axis=2) < 12
        assert near.sum() > 50, colour
    assert [item.name for item in path.parent.iterdir()] == ["front.png"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_anything_to_draw(trials: Callable[..., pd.DataFrame], tmp_path: Path, count: int) -> None:
    path = draw_png(rank_trials(trials(5).iloc[:count]), tmp_path / "front.png")
    assert path.stat().st_size > 1000


def test_a_place_that_can_not_be_written(drawn: Front) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        draw_png(drawn, Path("/proc/front.png"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("latency", [0.1, 0.393072, 0.4])
def test_a_front_of_one_is_drawn_beside_the_teacher_without_a_word(
    drawn: Front, trials: Callable[..., pd.DataFrame], latency: float
) -> None:
    alone = replace(rank_trials(trials(1).assign(latency_ms=latency)), study=drawn.study)
    for axes in front_figure(alone).axes:
        low, high = axes.get_xlim()
        assert low < latency < high
        assert high / low > 1.1
