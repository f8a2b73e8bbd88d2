import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from paretolens.errors import StoreError
from paretolens.evaluators.eps import EpsScore, EpsSettings, ExplainedSet, TeacherReference, score_eps
from paretolens.evaluators.overlays import draw_overlay, pick_samples, write_overlays
from paretolens.evaluators.overlays.colours import STUDENT, TEACHER
from paretolens.evaluators.overlays.strip import masks, resized, strip_frames
from paretolens.models.signature import InputKind, InputSpec, Signature

Make = Callable[[int], nn.Module]


@pytest.fixture
def regions_reference(tiny_detector: Make, tiny_explained: ExplainedSet, tiny_settings: EpsSettings) -> TeacherReference:
    regions = np.zeros((24, 4, 16, 16), dtype=bool)
    regions[:, :, 4:8, 5:9] = True
    return TeacherReference.compute(tiny_detector(0), dataclasses.replace(tiny_explained, regions=regions), tiny_settings)


@pytest.fixture
def tiny_score(tiny_detector: Make, regions_reference: TeacherReference) -> EpsScore:
    return score_eps(tiny_detector(1), regions_reference)


def test_files_are_written_whole(regions_reference: TeacherReference, tiny_score: EpsScore, tmp_path: Path) -> None:
    paths = write_overlays(regions_reference, tiny_score, tmp_path / "overlays")
    assert sorted(path.name for path in (tmp_path / "overlays").iterdir()) == sorted(path.name for path in paths)
    assert [path.name for path in paths] == ["overlay_best.png", "overlay_median.png", "overlay_worst.png"]
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.width > 800
            assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_a_folder_that_cannot_be_written(regions_reference: TeacherReference, tiny_score: EpsScore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_overlays(regions_reference, tiny_score, tmp_path / "file")


def test_best_median_and_worst(tiny_score: EpsScore) -> None:
    rows = pick_samples(tiny_score)
    scored = tiny_score.samples.eps
    assert scored[rows["best"]] == np.nanmax(scored)
    assert scored[rows["worst"]] == np.nanmin(scored)
    assert scored[rows["worst"]] <= scored[rows["median"]] <= scored[rows["best"]]


def test_students_maps_come_with_the_score(tiny_detector: Make, regions_reference: TeacherReference) -> None:
    score = score_eps(tiny_detector(0), regions_reference)
    rows = regions_reference.eligible.numpy()
    for name, maps in regions_reference.grids.items():
        np.testing.assert_allclose(score.samples.grids[name][rows], maps.values.numpy()[rows], rtol=1e-5, atol=1e-8)


def test_masks_show_whose_cells_they_are() -> None:
    grey = np.zeros((80, 80, 3))
    teacher, student = np.zeros((8, 8), dtype=bool), np.zeros((8, 8), dtype=bool)
    teacher[0, 0] = teacher[1, 1] = student[1, 1] = student[2, 2] = True
    drawn = masks(grey, teacher, student)

    def colour(cell: int) -> list[float]:
        return [round(float(value) / 0.75 * 255) for value in drawn[10 * cell + 5, 10 * cell + 5]]

    def parsed(text: str) -> list[int]:
        return [int(text[i : i + 2], 16) for i in (1, 3, 5)]

    assert colour(0) == parsed(TEACHER)
    assert colour(1) == [255, 255, 255]
    assert colour(2) == parsed(STUDENT)
    assert colour(3) == [0, 0, 0]


def test_padding_is_never_drawn() -> None:
    ignored = np.zeros(30, dtype=bool)
    ignored[20:] = True
    frames = strip_frames(ignored)
    assert len(frames) == 8
    assert (frames[0], frames[-1]) == (0, 19)
    assert strip_frames(np.array([False, False, True])) == [0, 1]


def test_resizing_keeps_the_grid() -> None:
    cells = np.arange(16.0).reshape(4, 4)
    np.testing.assert_array_equal(resized(cells)[::20, ::20], cells)


def test_a_single_image_without_masks_or_regions() -> None:
    class Patch(nn.Module):
        def __init__(self, weight: float) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2.0 + x[:, 0, 4:12, 4:12].pow(2).mean((1, 2)) + self.weight * x.mean((1, 2, 3))

    signature = Signature(inputs=(InputSpec(name="image", shape=(3, 24, 24), kind=InputKind.IMAGE),), outputs=("logit",))
    inputs = (torch.rand(6, 3, 24, 24, generator=torch.Generator().manual_seed(0)),)
    explained = ExplainedSet.of_tensors(signature, inputs, (torch.zeros(1, 3, 24, 24),))
    reference = TeacherReference.compute(Patch(0.1), explained, EpsSettings(nodes=4, probes=0))
    score = score_eps(Patch(0.5), reference)
    assert 0.3 < score.eps < 1.0
    with Image.open(io.BytesIO(draw_overlay(reference, score, pick_samples(score)["best"]))) as image:
        assert image.width > 3 * image.height  # a single picture's maps stand side by side
